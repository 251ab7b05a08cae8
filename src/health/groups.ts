import type { ErrorLog } from "../runtime/log/log.ts";
import type { BoundPlan } from "./plan.ts";
import type { HealthStates } from "./state.ts";

/** A server of an upstream in the plan: usable when all its checks are up, or during a panic. */
interface Member {
  readonly group: Group;
  readonly record: number;
  /** Records of its checks. */
  readonly checks: readonly number[];
}

interface Group {
  readonly name: string;
  readonly panic: number;
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
  private readonly groups: Group[] = [];

  /** Sets all servers of a generation; a panic that `previous` had logged is not logged again. */
  constructor(plan: BoundPlan, log: ErrorLog, previous?: Groups) {
    this.states = plan.states;
    this.log = log;
    const panicking = new Set(previous?.groups.filter((group) => group.panicking).map(({ name }) => name));
    plan.upstreams.forEach(({ name, panic, servers }, number) => {
      const group: Group = { name, panic, members: [], up: 0, panicking: panicking.has(name) };
      this.groups.push(group);
      servers.forEach(({ checks }, peer) => {
        const record = plan.servers[number][peer];
        if (checks.length === 0) this.states.setUp(record, true);
        else this.add({ group, record, checks: checks.map((check) => plan.records[check]) });
      });
      this.judge(group);
      for (const { record } of group.members) this.states.setUp(record, group.panicking || this.states.healthy(record));
    });
  }

  private add(member: Member): void {
    member.group.members.push(member);
    for (const check of member.checks) {
      const others = this.members.get(check);
      if (others === undefined) this.members.set(check, [member]);
      else others.push(member);
    }
    const healthy = member.checks.every((check) => this.states.up(check));
    this.states.setHealthy(member.record, healthy);
    if (healthy) member.group.up++;
  }

  /** A check's state has changed. */
  changed(check: number): void {
    const { states } = this;
    for (const { group, record, checks } of this.members.get(check) ?? []) {
      const healthy = checks.every((other) => states.up(other));
      if (healthy === states.healthy(record)) continue;
      states.setHealthy(record, healthy);
      group.up += healthy ? 1 : -1;
      const before = group.panicking;
      this.judge(group);
      if (group.panicking === before) states.setUp(record, before || healthy);
      else for (const member of group.members) states.setUp(member.record, !before || states.healthy(member.record));
    }
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
