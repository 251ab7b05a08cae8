import type { Engine } from "./engine.ts";
import { nodeEngine } from "./node/engine.ts";

/** The engine of this thread; chosen here and nowhere else. There is one so far. */
export function engine(): Engine {
  return nodeEngine;
}
