import { isUtf8 } from "node:buffer";
import { MOST_REASON, REPORT_STATES, type ReportState } from "./report.ts";

/** The longest that a report may be for, s. */
const LONGEST = 30 * 86_400;

export interface SaidReport {
  readonly state: ReportState;
  /** A byte string. */
  readonly reason: string;
  /** ms; 0: until something else is said. */
  readonly for: number;
}

const MEMBERS: readonly string[] = ["state", "reason", "for"];

/** What a server says in the body of a request; a sentence of what is wrong with it. */
export function parseReport(body: Buffer): SaidReport | string {
  const fields = fieldsOf(body);
  if (fields === undefined) return "the body is no JSON object in UTF-8";
  const unknown = Object.keys(fields).find((name) => !MEMBERS.includes(name));
  if (unknown !== undefined) return `there is no member ${JSON.stringify(unknown)}, but state, reason and for`;
  const { state: named, reason = "", for: seconds = 0 } = fields;
  const state = REPORT_STATES.find((one) => one === named);
  if (state === undefined) return 'state is "ready", "draining" or "notready"';
  const text = typeof reason === "string" ? Buffer.from(reason).latin1Slice() : undefined;
  if (
    typeof reason !== "string" ||
    text === undefined ||
    text.length > MOST_REASON ||
    /[\p{Cc}\p{Zl}\p{Zp}]/u.test(reason)
  ) {
    return `reason is a text of one line and at most ${MOST_REASON} bytes`;
  }
  if (typeof seconds !== "number" || !(seconds >= 0 && seconds <= LONGEST) || ("for" in fields && seconds === 0)) {
    return `for is a number of seconds, more than 0 and at most ${LONGEST}`;
  }
  if (state === "ready" && seconds > 0) return "ready is until something else is said: it has no for";
  return { state, reason: text, for: Math.ceil(seconds * 1000) };
}

function fieldsOf(body: Buffer): Readonly<Record<string, unknown>> | undefined {
  if (!isUtf8(body)) return undefined;
  try {
    const value: unknown = JSON.parse(body.toString());
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}
