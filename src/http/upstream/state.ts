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

/** Begins a passage: puts a mark behind the servers that an earlier one left. */
export function markPassage(request: Request): void {
  request.upstreamStates?.push(new UpstreamState(""));
}

/** A passage that comes to no server. */
export function markEmptyPassage(request: Request): void {
  if (request.upstreamStates === undefined) request.upstreamStates = [];
  else markPassage(request);
}

/** Adds a server that is tried. */
export function addState(request: Request, state: UpstreamState): void {
  // A list made with what it holds is as long as that: one that grows has room for 17 at once.
  if (request.upstreamStates === undefined) request.upstreamStates = [state];
  else request.upstreamStates.push(state);
}
