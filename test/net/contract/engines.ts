import type { Engine } from "../../../src/net/engine.ts";
import { nodeEngine } from "../../../src/net/node/engine.ts";

/** The engines there are, for processes of the tests' own. */
export function engineOf(name: string): Engine {
  if (name !== nodeEngine.name) throw new Error(`no engine "${name}"`);
  return nodeEngine;
}
