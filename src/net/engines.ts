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
 * Chooses the process's engine, before its first connection: `use` is the directive's method. Returns what to say of it in
 * the log: which it is, and why not another, or that it is slower here than it should be.
 */
export async function startEngine(use?: string): Promise<readonly string[]> {
  const uring = use !== "node" ? openUring() : undefined;
  if (typeof uring === "object") chosen = uring;
  useEventLoop(chosen.loop);
  const lacking = await chosen.prepare();
  const said = [`using the "${chosen.name}" event method`];
  if (typeof uring === "string") said.push(`io_uring cannot be used, node:net is instead: ${uring}`);
  if (lacking !== undefined) said.push(lacking);
  return said;
}
