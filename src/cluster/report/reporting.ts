import { ADMIN, type Peer } from "../../balancer/peer.ts";
import { type Opinion, type Opinions, reportedServer, reportKey } from "../group/opinions.ts";
import { type Report, type ReportState, stateNow, wordOf } from "./report.ts";
import { idOf, type ReportTable } from "./report_table.ts";

/** A report from further ahead than this would win against all that is said until then, ms: it is none. */
const MOST_AHEAD = 60_000;

/** An upstream of the configuration, as far as reports concern it. */
export interface ReportedUpstream {
  readonly name: string;
  readonly peers: readonly Peer[];
  administer(stateOf: (peer: Peer) => number): void;
}

export interface ReportingEnvironment {
  readonly table: ReportTable;
  readonly upstreams: readonly ReportedUpstream[];
  readonly opinions: Opinions;
  /** Those of the other nodes. */
  readonly others: () => Iterable<ReadonlyMap<string, Opinion>>;
  /** ms since 1970 */
  readonly wall: () => number;
  readonly say: (message: string) => void;
}

const ADMINISTERED: Readonly<Record<ReportState, number>> = {
  ready: ADMIN.up,
  draining: ADMIN.draining,
  notready: ADMIN.down,
};

/** Has what servers say of themselves count on this node, and lets the others know, in the checker. */
export class Reporting {
  readonly #environment: ReportingEnvironment;
  /** Keys of the servers that there are, by upstream: until its servers change. */
  readonly #keys = new Map<ReportedUpstream, { readonly peers: readonly Peer[]; readonly keys: readonly string[] }>();
  #known: ReadonlySet<string> = new Set();
  /** The same by what stands for them in the table. */
  #byId: ReadonlyMap<string, string> = new Map();
  #sequence: number | undefined = undefined;
  #reports: ReadonlyMap<string, Report> = new Map();
  #states = new Map<string, ReportState>();
  /** Changes with what counts. */
  revision = 0;
  /** When the next one ends, ms since 1970. */
  #next = Number.POSITIVE_INFINITY;

  constructor(environment: ReportingEnvironment) {
    this.#environment = environment;
  }

  /** What servers have said and what counts still, by upstream and server. */
  *current(): Generator<{ readonly upstream: string; readonly server: string; readonly report: Report }> {
    for (const [{ name: upstream }, { peers, keys }] of this.#keys) {
      const seen = new Set<string>();
      for (const [number, key] of keys.entries()) {
        const report = this.#reports.get(key);
        if (report === undefined || seen.has(key) || this.#states.get(key) === "ready") continue;
        seen.add(key);
        yield { upstream, server: peers[number].name, report };
      }
    }
  }

  /** Another node has told that. */
  hear(key: string, { reason, since, report }: Opinion): void {
    if (report === undefined || !this.#known.has(key)) return;
    const { table, wall } = this.#environment;
    if (since <= wall() + MOST_AHEAD) table.take(key, { ...report, reason, at: since });
  }

  /** Looks whether anything has changed, and acts on it. */
  look(): void {
    const { table, wall, others } = this.#environment;
    const moved = this.#followServers();
    if (moved) {
      this.#known = new Set([...this.#keys.values()].flatMap(({ keys }) => keys));
      this.#byId = new Map([...this.#known].map((key) => [idOf(key), key]));
      // What was told of servers that were not there then.
      for (const told of others()) for (const [key, opinion] of told) this.hear(key, opinion);
    }
    const { sequence } = table;
    const now = wall();
    if (!moved && sequence === this.#sequence && now < this.#next) return;
    this.#sequence = sequence;
    const reports = new Map<string, Report>();
    for (const [id, report] of table.all()) {
      const key = this.#byId.get(id);
      if (key !== undefined) reports.set(key, report);
    }
    this.#act(reports, now);
  }

  #followServers(): boolean {
    let moved = false;
    for (const upstream of this.#environment.upstreams) {
      const { name, peers } = upstream;
      if (this.#keys.get(upstream)?.peers === peers) continue;
      this.#keys.set(upstream, { peers, keys: peers.map((peer) => reportKey(name, peer.name)) });
      moved = true;
    }
    return moved;
  }

  #act(reports: ReadonlyMap<string, Report>, now: number): void {
    const { opinions, upstreams, say } = this.#environment;
    this.revision++;
    const before = this.#states;
    this.#states = new Map();
    this.#next = Number.POSITIVE_INFINITY;
    for (const [key, report] of reports) {
      const state = stateNow(report, now);
      this.#states.set(key, state);
      if (state !== "ready" && report.until !== 0) this.#next = Math.min(this.#next, report.until);
      const { reason, at: since, until, by } = report;
      opinions.set(key, { state: "unknown", since, reason, report: { state: report.state, until, by } });
      const was = this.#reports.get(key);
      if (state !== (before.get(key) ?? "ready") || (state !== "ready" && reason !== was?.reason))
        say(line(key, report, state));
    }
    for (const key of this.#reports.keys()) if (!reports.has(key)) opinions.delete(key);
    this.#reports = reports;
    for (const upstream of upstreams) {
      const { name } = upstream;
      upstream.administer((peer) => ADMINISTERED[this.#states.get(reportKey(name, peer.name)) ?? "ready"]);
    }
  }
}

function line(key: string, { reason, until, at, by, state: said }: Report, state: ReportState): string {
  const [upstream = "", server = ""] = reportedServer(key) ?? [];
  const who = `server ${server} of upstream "${upstream}"`;
  if (state === "ready" && said !== "ready")
    return `${who} counts as ready again: it was ${wordOf(said)} for ${seconds(until - at)} s`;
  const why = reason === "" ? "" : `: ${reason}`;
  const time = until === 0 || state === "ready" ? "" : `, for ${seconds(until - at)} s`;
  return `${who} says that it is ${wordOf(state)}${why}${time}, to node ${by}`;
}

function seconds(ms: number): number {
  return Math.round(ms / 1000);
}
