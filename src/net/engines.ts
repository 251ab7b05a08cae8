import { useEventLoop } from "../sys/event_loop.ts";
import type { Engine } from "./engine.ts";
import { nodeEngine } from "./node/engine.ts";

/** The engine of this thread; chosen here and nowhere else. There is one so far. */
const chosen: Engine = nodeEngine;

export function engine(): Engine {
  return chosen;
}

/** Before the thread's first connection. Answers a sentence where the engine is not all that it could be here. */
export function startEngine(): Promise<string | undefined> {
  useEventLoop(chosen.loop);
  return chosen.prepare();
}
