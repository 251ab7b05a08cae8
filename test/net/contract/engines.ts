import type { Engine } from "../../../src/net/engine.ts";
import { nodeEngine } from "../../../src/net/node/engine.ts";
import { asyncEngine } from "./async_engine.ts";

const ENGINES = [nodeEngine, asyncEngine(nodeEngine)];

/** The engine of that name, for processes of the tests' own. */
export function engineOf(name: string): Engine {
  const found = ENGINES.find((engine) => engine.name === name);
  if (found === undefined) throw new Error(`no engine "${name}"`);
  return found;
}
