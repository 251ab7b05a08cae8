import { checkAddress, type PlannedCheck } from "./plan.ts";

/** A check's change of state. `lasted`: the duration of the previous state in ms. */
export interface Change {
  readonly check: PlannedCheck;
  readonly up: boolean;
  /** Why it failed; "" when it passed. */
  readonly reason: string;
  readonly lasted: number;
}

/**
 * The log line of a change of state. It begins as the check module's does ("disable check peer: ADDRESS "), so that
 * scripts which parse that go on working.
 */
export function changed({ check, up, reason, lasted }: Change): string {
  const { upstream, name, definition } = check;
  const address = checkAddress(check);
  const server = address === name ? "" : `, server: ${name}`;
  const why = up ? `passed ${definition.rise} in a row` : reason;
  return `${up ? "enable" : "disable"} check peer: ${address} ${server}, upstream: "${upstream}", check: ${definition.label}, reason: ${why}, was ${up ? "down" : "up"} for ${duration(lasted)}`;
}

/** A duration in ms for people: `850ms`, `12.3s`, `4m10s`, `3h05m`, `2d04h`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)}ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)}s`;
  const total = Math.floor(ms / 1000);
  const pair = (high: number, low: number, units: string) =>
    `${high}${units[0]}${String(low).padStart(2, "0")}${units[1]}`;
  if (total < 3600) return pair(Math.floor(total / 60), total % 60, "ms");
  if (total < 86_400) return pair(Math.floor(total / 3600), Math.floor((total % 3600) / 60), "hm");
  return pair(Math.floor(total / 86_400), Math.floor((total % 86_400) / 3600), "dh");
}
