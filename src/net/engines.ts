import { useEventLoop } from "../sys/event_loop.ts";
import type { Engine } from "./engine.ts";
import { nodeEngine } from "./node/engine.ts";

/** The engine is chosen here and nowhere else; so far there is only one. */
const chosen: Engine = nodeEngine;

export function engine(): Engine {
  return chosen;
}

/** Called before the thread's first connection. Returns a message if the engine is slower here than it should be. */
export function startEngine(): Promise<string | undefined> {
  useEventLoop(chosen.loop);
  return chosen.prepare();
}
