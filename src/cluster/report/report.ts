/** What a server has said of itself. Texts are byte strings. */

/** "ready": nothing is in the way. "draining": no new requests, but those that are bound to it. "notready": no requests at all. */
export type ReportState = "ready" | "draining" | "notready";

export const REPORT_STATES: readonly ReportState[] = ["ready", "draining", "notready"];

export interface Report {
  readonly state: ReportState;
  readonly reason: string;
  /** When it was said, ms since 1970: the latest counts. */
  readonly at: number;
  /** Until when, ms since 1970; 0: until something else is said. */
  readonly until: number;
  /** The node that it was said to. */
  readonly by: string;
}

/** Bytes of a reason. */
export const MOST_REASON = 200;

/** What follows from a report now. */
export function stateNow({ state, until }: Report, now: number): ReportState {
  return until !== 0 && now >= until ? "ready" : state;
}

/** Whether a report is to be put in place of another. */
export function isLater(report: Report, than: Report | undefined): boolean {
  if (than === undefined) return true;
  return report.at === than.at ? report.by > than.by : report.at > than.at;
}

export function wordOf(state: ReportState): string {
  return state === "notready" ? "not ready" : state;
}
