import type { CertificateStatus } from "../http/conf/module.ts";
import { argument } from "../wire/uri.ts";
import type { BoundPlan } from "./plan.ts";

export type StatusFormat = "html" | "csv" | "json";

/** A row of the status page. Strings are byte strings. */
export interface StatusRow {
  readonly index: number;
  readonly upstream: string;
  readonly name: string;
  readonly up: boolean;
  readonly rise: number;
  readonly fall: number;
  readonly type: string;
  /** `port=` of the check; 0: the server's own. */
  readonly port: number;
  /** Wall-clock ms since when it is up or down, and of the last check (0 before it). */
  readonly since: number;
  readonly checked: number;
  /** The last failed check, while it matters: when (wall-clock ms; 0: none) and why. */
  readonly failed: number;
  readonly reason: string;
  /** Where the nodes of a cluster decide: what balancing goes by, where that is not what this node finds; "": it is. */
  readonly decided: Decided;
}

/** "looked at": other nodes check it, and that is what they found. */
export type Decided = "" | "kept up by the majority" | "down by the majority" | "looked at by other nodes";

/** All there is to show. `now`: wall-clock ms. */
export interface StatusReport {
  readonly rows: readonly StatusRow[];
  /** Those that modules obtain, whichever part of the servers is shown. */
  readonly certificates: readonly CertificateStatus[];
  readonly generation: number;
  readonly now: number;
}

/** How long a failure is shown once its server is up and passes its checks again, ms. */
const FORGET = 3_600_000;

/** What a request may ask of the page. */
export interface StatusQuery {
  readonly format: StatusFormat;
  readonly status: "up" | "down" | undefined;
}

/**
 * Reads `format=` and `status=` of a request's arguments (without "?"; a byte string). Invalid values are passed to
 * `bad`, in the module's words, and ignored.
 */
export function statusQuery(args: string, format: StatusFormat, bad?: (message: string) => void): StatusQuery {
  const complain = (value: string) => bad?.(`http upstream check, bad argument: "${value}"`);
  let chosen = format;
  let status: StatusQuery["status"];
  const wanted = argument(args, "format");
  if (wanted === "html" || wanted === "csv" || wanted === "json") chosen = wanted;
  else if (wanted !== undefined) complain(wanted);
  const part = argument(args, "status");
  if (part !== undefined) {
    const word = part.toLowerCase();
    if (word === "up" || word === "down") status = word;
    else complain(part);
  }
  return { format: chosen, status };
}

/** The states of a plan's checks at `now` (wall-clock ms), in the order of the configuration. */
export function statusRows(plan: BoundPlan, now = Date.now()): StatusRow[] {
  const decisions = decisionsIn(plan);
  return plan.checks.map(({ upstream, name, definition }, index) => {
    const { up, verdict, rise, fall, since, checked, failed, reason } = plan.states.read(plan.records[index]);
    const recovered = up && fall === 0 && now - failed > FORGET;
    const failure = recovered ? { failed: 0, reason: "" } : { failed, reason };
    const { type, port } = definition;
    const decided = decidedText(decisions.get(index), up, !verdict && (definition.sharing?.observers ?? 0) > 0);
    return { index, upstream, name, up, rise, fall, type, port, since, checked, ...failure, decided };
  });
}

/** What the nodes of a cluster have decided of the servers, by the numbers of their checks. */
function decisionsIn(plan: BoundPlan): Map<number, boolean> {
  const decisions = new Map<number, boolean>();
  plan.upstreams.forEach(({ servers, sharing }, number) => {
    if (sharing === undefined) return;
    servers.forEach(({ checks }, peer) => {
      const record = plan.servers[number][peer];
      const up = plan.states.decided(record);
      // Of several checks, those that pass have nothing to do with it.
      const differs = up !== undefined && (sharing.observers > 0 || up !== plan.states.healthy(record));
      if (differs) for (const check of checks) decisions.set(check, up);
    });
  });
  return decisions;
}

function decidedText(decided: boolean | undefined, up: boolean, elsewhere: boolean): Decided {
  if (decided === undefined) return "";
  if (elsewhere) return "looked at by other nodes";
  return decided === up ? "" : decided ? "kept up by the majority" : "down by the majority";
}
