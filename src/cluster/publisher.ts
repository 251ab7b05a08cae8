import type { Health } from "../health/health.ts";
import { addressText } from "../net/address.ts";
import type { ErrorLog } from "../runtime/log/log.ts";
import { randomBytes } from "../sys/random.ts";
import { DifferenceLog, namedIn } from "./differences.ts";
import { EventLog } from "./events/event_log.ts";
import type { Member } from "./group/member.ts";
import type { NodeFacts } from "./group/messages.ts";
import { addressKey, nodeKey, type Opinion, type Opinions, serverKey } from "./group/opinions.ts";
import { type AddressRow, type Matrix, type NodeRow, type Seen, type ServerRow, verdictOf } from "./matrix.ts";
import type { OwnState } from "./own_state.ts";
import type { Reporting } from "./report/reporting.ts";
import type { ClusterSettings } from "./settings.ts";
import type { Snapshot } from "./snapshot.ts";
import type { StoreRow } from "./sync/store_row.ts";

/** While nothing but figures changes, the matrix is published so often, ms. */
const FIGURES_MS = 1000;
/** After each publication nothing is published for so many times as long as it took, and no longer than that (ms). */
const PAUSES = 20;
const MOST_PAUSE_MS = 5000;
/** That of a small group is made in less, ms: it is made with each change. */
const SMALL_MS = 20;

export interface PublisherEnvironment {
  readonly settings: ClusterSettings;
  readonly snapshot: Snapshot;
  readonly events: Snapshot;
  readonly own: OwnState;
  readonly health: Health;
  readonly log: ErrorLog;
  readonly store: () => StoreRow | undefined;
}

/** What the checker knows of the group. */
export interface Known {
  readonly members: ReadonlyMap<string, Member>;
  readonly opinions: Opinions;
  readonly reporting: Reporting;
  readonly facts: () => NodeFacts;
  /** Where several say that they are that node. */
  readonly twice: (node: string) => readonly string[] | undefined;
}

/** Publishes who sees whom, and what has changed, for this node's processes. */
export class Publisher {
  readonly #environment: PublisherEnvironment;
  readonly #known: Known;
  readonly #differences: DifferenceLog;
  readonly #events: EventLog;
  /** Monotonic ms of the last publication. */
  #publishedAt = Number.NEGATIVE_INFINITY;
  /** Making the matrix of a large group takes long: it is not made again before that (monotonic ms). */
  #notBefore = 0;
  #published = "";
  #plan: Health["plan"] | undefined = undefined;
  #plans = 0;
  #tooLarge = false;

  /** `previous`: of the configuration before, whose reader knows what that said. */
  constructor(environment: PublisherEnvironment, known: Known, previous?: Publisher) {
    const { settings, log, events } = environment;
    this.#environment = environment;
    this.#known = known;
    this.#differences = new DifferenceLog((level, text) => log.write(level, `${text}, cluster: "${settings.name}"`));
    const before = previous === undefined ? undefined : previous.#events;
    if (previous !== undefined) this.#differences.goOn(previous.#differences);
    this.#events = new EventLog(events, randomBytes(4).toString("hex"), before);
  }

  publish(): void {
    const { snapshot, log, settings, own } = this.#environment;
    const now = performance.now();
    if (now < this.#notBefore) return;
    const state = this.#state();
    if (state === this.#published && now - this.#publishedAt < FIGURES_MS) return;
    this.#published = state;
    this.#publishedAt = now;
    const matrix = this.#matrix();
    own.holder = matrix.addresses[0]?.holders[0] ?? "";
    this.#events.look(matrix);
    const published = snapshot.publish(JSON.stringify(matrix));
    if (!published && !this.#tooLarge)
      log.write("error", `the matrix of cluster "${settings.name}" is too large to be shown`);
    this.#tooLarge = !published;
    // Whoever hears of a change finds it in the matrix.
    this.#events.publish();
    const done = performance.now();
    if (done - now > SMALL_MS) this.#notBefore = done + Math.min((done - now) * PAUSES, MOST_PAUSE_MS);
  }

  /** Changes with all but figures. */
  #state(): string {
    const { members, opinions, reporting, facts } = this.#known;
    const { plan } = this.#environment.health;
    if (plan !== this.#plan) {
      this.#plan = plan;
      this.#plans++;
    }
    const store = this.#environment.store();
    const parts: unknown[] = [
      store?.connected,
      store?.reason,
      this.#plans,
      opinions.number,
      reporting.revision,
      facts().state,
    ];
    for (const { run, known, facts: its, encrypted } of members.values()) {
      parts.push(run, known, its?.state, its?.version, its?.configuration, encrypted);
    }
    return parts.join(" ");
  }

  #matrix(): Matrix {
    const { settings } = this.#environment;
    const { self } = settings;
    const nodes = settings.nodes.map((node) => this.#nodeRow(node));
    const named = (node: string): readonly string[] | undefined => {
      const member = this.#known.members.get(node);
      return member === undefined || member.known === 0 ? undefined : namedIn(member.opinions);
    };
    const differences = this.#differences.look({ self: self.name, nodes }, named).map(({ text }) => text);
    const addresses = settings.addresses.map(({ host }): AddressRow => {
      const { seen } = this.#seen(addressKey(host));
      return { address: host, holders: Object.keys(seen).filter((node) => seen[node].state === "up"), seen };
    });
    const servers = this.#serverRows();
    const row = this.#environment.store();
    const store = row === undefined ? {} : { store: row };
    return {
      cluster: settings.name,
      self: self.name,
      at: Date.now(),
      nodes,
      servers,
      addresses,
      differences,
      ...store,
    };
  }

  #nodeRow({ name, address }: ClusterSettings["self"]): NodeRow {
    const own = name === this.#environment.settings.self.name;
    const { members, facts: ownFacts } = this.#known;
    const secures = !own && this.#environment.settings.tls !== undefined;
    const {
      facts = undefined,
      clockAhead = 0,
      protocol = "",
    } = own ? { facts: ownFacts() } : (members.get(name) ?? {});
    const seen = {
      ...this.#seen(nodeKey(name)),
      ...(facts === undefined && members.get(name)?.left === true ? { left: true } : {}),
    };
    return {
      name,
      address: addressText(address),
      self: own,
      facts,
      clockAhead: Math.round(clockAhead),
      protocol,
      ...(own ? {} : { twice: this.#known.twice(name) }),
      ...(secures ? { encrypted: members.get(name)?.encrypted === true } : {}),
      ...seen,
    };
  }

  #serverRows(): ServerRow[] {
    const { reporting } = this.#known;
    const rows: ServerRow[] = [];
    const reported = new Map([...reporting.current()].map((one) => [serverKey(one.upstream, one.server), one]));
    const row = (upstream: string, server: string): ServerRow => {
      const key = serverKey(upstream, server);
      const said = reported.get(key);
      reported.delete(key);
      return { upstream, server, ...this.#seen(key), ...(said === undefined ? {} : { report: said.report }) };
    };
    for (const { name: upstream, servers: all } of this.#environment.health.plan.upstreams) {
      for (const { name: server, checks } of all) if (checks.length > 0) rows.push(row(upstream, server));
    }
    // Those that are not checked have rows while they say something.
    for (const { upstream, server } of [...reported.values()]) rows.push(row(upstream, server));
    return rows;
  }

  #seen(key: string): Seen {
    const { members, opinions: own } = this.#known;
    const seen: Record<string, Opinion> = {};
    for (const { name } of this.#environment.settings.nodes) {
      const opinion = (members.get(name)?.opinions ?? own).get(key);
      if (opinion !== undefined) seen[name] = opinion;
    }
    return { verdict: verdictOf(Object.values(seen)), seen };
  }
}
