import type { ErrorLog } from "../runtime/log/log.ts";
import type { BoundPlan } from "./plan.ts";
import type { Decision } from "./sharing.ts";
import type { HealthStates } from "./state.ts";

/**
 * A server of an upstream in the plan: up when all its checks are, or where the nodes of a cluster decide when they say so;
 * usable when it is up, or during a panic.
 */
interface Member {
  readonly group: Group;
  readonly name: string;
  readonly record: number;
  /** Records of its checks. */
  readonly checks: readonly number[];
  up: boolean;
}

interface Group {
  readonly name: string;
  readonly panic: number;
  readonly shared: boolean;
  readonly recovered: ((server: string) => void) | undefined;
  readonly members: Member[];
  up: number;
  panicking: boolean;
}

/** Derives which servers may be used from the checks' states. The cost of a change is that of the servers it affects. */
export class Groups {
  private readonly states: HealthStates;
  private readonly log: ErrorLog;
  /** Check record → the servers it belongs to. */
  private readonly members = new Map<number, Member[]>();
  /** Those whose state the nodes of a cluster decide, by upstream and name. */
  private readonly shared = new Map<string, Member[]>();
  private readonly groups: Group[] = [];

  /** Sets all servers of a generation; a panic that `previous` had logged is not logged again. */
  constructor(plan: BoundPlan, log: ErrorLog, previous?: Groups) {
    this.states = plan.states;
    this.log = log;
    const panicking = new Set(previous?.groups.filter((group) => group.panicking).map(({ name }) => name));
    plan.upstreams.forEach(({ name, panic, servers, sharing, recovered }, number) => {
      const shared = sharing !== undefined;
      const group: Group = { name, panic, shared, recovered, members: [], up: 0, panicking: panicking.has(name) };
      this.groups.push(group);
      servers.forEach(({ name: server, checks }, peer) => {
        const record = plan.servers[number][peer];
        if (!shared) this.states.setDecided(record, undefined);
        if (checks.length === 0) this.states.setUp(record, true);
        else this.add({ group, name: server, record, checks: checks.map((check) => plan.records[check]), up: false });
      });
      this.judge(group);
      for (const { record, up } of group.members) this.states.setUp(record, group.panicking || up);
    });
  }

  private add(member: Member): void {
    const { group, name, record, checks } = member;
    group.members.push(member);
    for (const check of checks) append(this.members, check, member);
    if (group.shared) append(this.shared, keyOf(group.name, name), member);
    this.states.setHealthy(record, this.healthy(member));
    member.up = this.isUp(member);
    if (member.up) group.up++;
  }

  private healthy({ checks }: Member): boolean {
    return checks.every((check) => this.states.up(check));
  }

  private isUp({ group, record }: Member): boolean {
    return (group.shared ? this.states.decided(record) : undefined) ?? this.states.healthy(record);
  }

  /** The servers that a check is of, by upstream and name. */
  *serversOf(check: number): Generator<readonly [upstream: string, server: string]> {
    for (const { group, name } of this.members.get(check) ?? []) yield [group.name, name];
  }

  /** The nodes of a cluster have decided a state of one of a check's servers. */
  isDecided(check: number): boolean {
    return this.members.get(check)?.some(({ record }) => this.states.decided(record) !== undefined) === true;
  }

  /** A check's state has changed. */
  changed(check: number): void {
    for (const member of this.members.get(check) ?? []) {
      const before = this.states.healthy(member.record);
      const healthy = this.healthy(member);
      if (healthy && !before) member.group.recovered?.(member.name);
      this.states.setHealthy(member.record, healthy);
      this.update(member);
    }
  }

  /** The nodes of a cluster have decided. `now`: wall-clock ms. */
  decide({ upstream, server, up, adopted }: Decision, now: number): void {
    const { states } = this;
    for (const member of this.shared.get(keyOf(upstream, server)) ?? []) {
      states.setDecided(member.record, up);
      if (adopted) {
        for (const check of member.checks) if (states.up(check) !== up) states.change(check, up, now);
        states.setHealthy(member.record, up);
      }
      this.update(member);
    }
  }

  private update(member: Member): void {
    const { states } = this;
    const { group, record } = member;
    const up = this.isUp(member);
    if (up === member.up) return;
    member.up = up;
    group.up += up ? 1 : -1;
    const before = group.panicking;
    this.judge(group);
    if (group.panicking === before) states.setUp(record, before || up);
    else for (const other of group.members) states.setUp(other.record, !before || other.up);
  }

  /** check_panic: fewer than so many percent of the servers are up. */
  private judge(group: Group): void {
    const { name, panic, members, up } = group;
    const panicking = panic > 0 && up * 100 < panic * members.length;
    if (panicking === group.panicking) return;
    group.panicking = panicking;
    const counts = `${up} of ${members.length} servers up`;
    const what = panicking ? "balancing over all servers" : "balancing over the servers that are up";
    this.log.write("error", `check panic ${panicking ? "begins" : "ends"}: ${counts}, ${what}, upstream: "${name}"`);
  }
}

function keyOf(upstream: string, server: string): string {
  return `${upstream}\0${server}`;
}

function append<K>(lists: Map<K, Member[]>, key: K, member: Member): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [member]);
  else list.push(member);
}
