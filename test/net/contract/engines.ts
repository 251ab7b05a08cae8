import type { Engine } from "../../../src/net/engine.ts";
import { nodeEngine } from "../../../src/net/node/engine.ts";
import { openUring } from "../../../src/net/uring/engine.ts";
import { asyncEngine } from "./async_engine.ts";

const ENGINES: Readonly<Record<string, () => Engine | string>> = {
  node: () => nodeEngine,
  "async node": () => asyncEngine(nodeEngine),
  io_uring: openUring,
};

/** The engine of that name, for processes of the tests' own. */
export function engineOf(name: string): Engine {
  const found = ENGINES[name]?.() ?? "there is none";
  if (typeof found === "string") throw new Error(`engine "${name}": ${found}`);
  return found;
}
