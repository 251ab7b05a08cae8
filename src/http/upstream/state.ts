import { now } from "../../sys/clock.ts";
import type { Request } from "../core/request.ts";

/**
 * What $upstream_* shows of one server tried; times in ms, -1 where it did not come so far. One whose peer is "" marks
 * the end of a passage and the start of the next one (X-Accel-Redirect, error_page).
 */
export class UpstreamState {
  readonly peer: string;
  status = 0;
  readonly startedAt: number;
  connectTime = -1;
  headerTime = -1;
  responseTime = -1;
  /** Body bytes received. */
  responseLength = 0;
  bytesSent = 0;
  bytesReceived = 0;

  constructor(peer: string) {
    this.peer = peer;
    this.startedAt = now();
  }
}

/** Stands in before a server was tried. */
export const NO_STATE = new UpstreamState("");

/** Begins a passage: the list its servers are added to, with a mark behind what an earlier passage left. */
export function markPassage(request: Request): UpstreamState[] {
  const before = request.upstreamStates;
  if (before === undefined) {
    const states: UpstreamState[] = [];
    request.upstreamStates = states;
    return states;
  }
  before.push(new UpstreamState(""));
  return before;
}
