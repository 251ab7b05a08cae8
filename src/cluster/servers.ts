import type { BoundPlan, PlannedUpstream } from "../health/plan.ts";
import type { Checks } from "../health/scheduler.ts";
import type { CheckGroup, Sharing } from "../health/sharing.ts";
import type { HealthStates } from "../health/state.ts";
import { type Opinion, type Opinions, serverKey } from "./group/opinions.ts";
import { judge } from "./judge.ts";
import { Observers, serverHash } from "./observers.ts";
import { Tally } from "./tally.ts";

/** A server that is checked, and what is known of it. */
interface Entry {
  readonly key: string;
  readonly upstream: string;
  readonly server: string;
  readonly sharing: Sharing | undefined;
  readonly record: number;
  /** Records of its checks. */
  readonly checks: readonly number[];
  /** The longest that its observers may take to look once, ms. */
  readonly patience: number;
  readonly hash: number;
  /** How many live nodes come before this one as its observers. */
  ahead: number;
  /** Since when nobody that is heard looks at it (monotonic ms), and whether this node does in their place. */
  lonely: number | undefined;
  standsIn: boolean;
  /** What this node finds. */
  own: boolean | undefined;
  decided: boolean | undefined;
  /** It was said that what is decided differs from what is found here. */
  said: boolean;
}

export interface ServersEnvironment {
  readonly self: string;
  readonly states: HealthStates;
  readonly checks: Pick<Checks, "decide" | "share"> | undefined;
  /** Where this node's own findings go. */
  readonly opinions: Opinions;
  /** A line for the log. */
  readonly say: (message: string) => void;
}

/** The servers of all upstreams as the group sees them: what this node finds, what the others do, and what follows for balancing. */
export class Servers implements CheckGroup {
  readonly #environment: ServersEnvironment;
  readonly #tally = new Tally();
  readonly #observers: Observers;
  #entries = new Map<string, Entry>();
  #states: HealthStates;
  /** Nodes that lived when this process began and that have not been heard since: what was decided holds until then. */
  readonly #awaited = new Set<string>();

  constructor(environment: ServersEnvironment) {
    this.#environment = environment;
    this.#observers = new Observers(environment.self);
    this.#states = environment.states;
  }

  /** The servers to look at; before that, `live` and `await` say what is known of the nodes. */
  planned(plan: BoundPlan): void {
    const before = this.#entries;
    this.#states = plan.states;
    this.#entries = new Map();
    plan.upstreams.forEach((upstream, number) => {
      upstream.servers.forEach(({ name, checks }, peer) => {
        if (checks.length === 0) return;
        const entry = this.#entryOf(plan, upstream, name, plan.servers[number][peer], checks);
        this.#entries.set(entry.key, entry);
        const old = before.get(entry.key);
        if (old !== undefined) {
          entry.lonely = old.lonely;
          entry.standsIn = old.standsIn;
          entry.said = old.said;
          before.delete(entry.key);
        }
      });
    });
    for (const key of before.keys()) this.#environment.opinions.delete(key);
    this.#environment.checks?.share();
    for (const entry of this.#entries.values()) this.#look(entry);
  }

  #entryOf(
    plan: BoundPlan,
    { name: upstream, sharing }: PlannedUpstream,
    server: string,
    record: number,
    checks: readonly number[],
  ): Entry {
    const hash = serverHash(upstream, server);
    const times = checks.map((check) => plan.checks[check].definition);
    return {
      key: serverKey(upstream, server),
      upstream,
      server,
      sharing,
      record,
      checks: checks.map((check) => plan.records[check]),
      patience: Math.max(...times.map(({ interval, jitter, timeout }) => interval + jitter + timeout)),
      hash,
      ahead: sharing !== undefined && sharing.observers > 0 ? this.#observers.ahead(hash) : 0,
      lonely: undefined,
      standsIn: false,
      own: undefined,
      decided: plan.states.decided(record),
      said: false,
    };
  }

  /** Servers that nothing is known of yet. */
  get pending(): number {
    let pending = 0;
    for (const { own, decided } of this.#entries.values()) if ((own ?? decided) === undefined) pending++;
    return pending;
  }

  // ---- who looks

  runs(upstream: string, server: string): boolean {
    const entry = this.#entries.get(serverKey(upstream, server));
    return entry !== undefined && this.#isOwn(entry);
  }

  #isOwn({ sharing, ahead, standsIn }: Entry): boolean {
    const observers = sharing?.observers ?? 0;
    return observers === 0 || ahead < observers || standsIn;
  }

  /** Another node takes part in checking from now on, or does not. */
  live(node: string, live: boolean): void {
    if (!this.#observers.set(node, live)) return;
    const moved: Entry[] = [];
    const isAhead = this.#observers.rival(node);
    for (const entry of this.#entries.values()) {
      const observers = entry.sharing?.observers ?? 0;
      if (observers === 0 || !isAhead(entry.hash)) continue;
      const own = this.#isOwn(entry);
      entry.ahead += live ? 1 : -1;
      if (this.#isOwn(entry) !== own) moved.push(entry);
    }
    this.#share(moved);
  }

  /**
   * Nodes may have different views of who lives: where nobody that this node hears looks at a server for as long as a look
   * takes, this one does. `now`: monotonic ms.
   */
  tick(now: number): void {
    const moved: Entry[] = [];
    for (const entry of this.#entries.values()) {
      const observers = entry.sharing?.observers ?? 0;
      if (observers === 0) continue;
      if (entry.ahead < observers || this.#tally.looks(entry.key)) {
        entry.lonely = undefined;
        if (!entry.standsIn) continue;
        entry.standsIn = false;
        if (entry.ahead >= observers) moved.push(entry);
        continue;
      }
      entry.lonely ??= now;
      if (entry.standsIn || now - entry.lonely <= entry.patience) continue;
      entry.standsIn = true;
      moved.push(entry);
    }
    this.#share(moved);
  }

  #share(moved: readonly Entry[]): void {
    if (moved.length === 0) return;
    this.#environment.checks?.share();
    for (const entry of moved) this.#look(entry);
  }

  /** The node's findings are still to come: nothing is decided anew without them. */
  await(node: string): void {
    this.#awaited.add(node);
  }

  /** They have come, or will not. */
  came(node: string): void {
    if (!this.#awaited.delete(node) || this.#awaited.size > 0) return;
    for (const entry of this.#entries.values()) this.#judge(entry);
  }

  // ---- what is found

  found(upstream: string, server: string): void {
    const entry = this.#entries.get(serverKey(upstream, server));
    if (entry !== undefined) this.#look(entry);
  }

  /** Another node's opinion of a subject has changed. */
  heard(key: string, before: Opinion | undefined, after: Opinion | undefined): void {
    if (before?.state === after?.state) return;
    this.#tally.change(key, before, after);
    const entry = this.#entries.get(key);
    if (entry !== undefined) this.#judge(entry);
  }

  #look(entry: Entry): void {
    const { opinions } = this.#environment;
    if (!this.#isOwn(entry)) {
      entry.own = undefined;
      opinions.delete(entry.key);
      this.#judge(entry);
      return;
    }
    const all = entry.checks.map((check) => this.#states.read(check));
    const failed = all.find(({ up, verdict }) => !up && verdict) ?? all.find(({ up }) => !up);
    const verdict = all.every((check) => check.verdict) || failed?.verdict === true;
    const since = Math.round(Math.max(...all.map((check) => check.since)));
    const up = failed === undefined;
    entry.own = verdict ? up : undefined;
    const state = !verdict ? "unknown" : up ? "up" : "down";
    opinions.set(entry.key, { state, since, reason: state === "down" ? (failed?.reason ?? "") : "" });
    this.#judge(entry);
  }

  // ---- what follows

  #judge(entry: Entry): void {
    const { sharing, own, decided: before, upstream, server } = entry;
    if (sharing === undefined || (before !== undefined && this.#awaited.size > 0)) return;
    const others = this.#tally.votes(entry.key);
    const up = judge({ own, others, quorum: sharing.quorum, before });
    if (up === undefined) return;
    const adopted = !this.#isOwn(entry);
    if (up !== before || adopted) {
      entry.decided = up;
      this.#environment.checks?.decide({ upstream, server, up, adopted });
    }
    this.#say(entry, up, before, others.up + (own === true ? 1 : 0), others.down + (own === false ? 1 : 0));
  }

  /** Says what others have decided; what this node finds itself the log has from its checks. */
  #say(entry: Entry, up: boolean, before: boolean | undefined, ups: number, downs: number): void {
    const differs = entry.own !== undefined && entry.own !== up;
    const news = (differs && !entry.said) || (up !== before && before !== undefined && (differs || entry.own !== up));
    entry.said = differs;
    if (!news) return;
    const { upstream, server, own } = entry;
    const count = `${up ? ups : downs} of ${ups + downs} nodes`;
    const here = own === undefined ? "" : `, this node finds it ${own ? "up" : "down"}`;
    this.#environment.say(
      `check peer is ${up ? "up" : "down"}: ${server}, upstream: "${upstream}", by ${count}${here}`,
    );
  }
}
