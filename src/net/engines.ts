import { useEventLoop } from "../sys/event_loop.ts";
import type { Engine } from "./engine.ts";
import { nodeEngine } from "./node/engine.ts";
import { openUring } from "./uring/engine.ts";

/** The engine is chosen here and nowhere else. Before `startEngine` it is node:net. */
let chosen: Engine = nodeEngine;

export function engine(): Engine {
  return chosen;
}

/**
 * Chooses the process's engine, before its first connection: `use` is the directive's method. Returns a message if it is
 * slower here than it should be.
 */
export async function startEngine(use?: string): Promise<string | undefined> {
  const uring = use !== "node" ? openUring() : undefined;
  if (typeof uring === "object") chosen = uring;
  useEventLoop(chosen.loop);
  const lacking = await chosen.prepare();
  const refused = typeof uring === "string" ? `io_uring cannot be used, node:net is instead: ${uring}` : undefined;
  return refused === undefined || lacking === undefined ? (refused ?? lacking) : `${refused}; ${lacking}`;
}
