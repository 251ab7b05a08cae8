import { engine } from "../net/engines.ts";
import type { ErrorLog } from "../runtime/log/log.ts";
import { defer } from "../sys/guard.ts";
import { startTimer } from "../sys/timers.ts";
import { type Change, changed } from "./change.ts";
import { CheckConnection, type Connect } from "./check_connection.ts";
import { type Due, DueHeap } from "./due.ts";
import { Groups } from "./groups.ts";
import { type BoundPlan, checkAddress, type PlannedCheck } from "./plan.ts";
import { PASS, type Verdict } from "./probe.ts";
import { probeOf } from "./probes/registry.ts";
import type { CheckGroup, Decision } from "./sharing.ts";
import type { HealthStates } from "./state.ts";
import { clientSettings } from "./tls.ts";

/** The scheduler's source of time; tests replace it. */
export interface Clock {
  /** Monotonic ms. */
  now(): number;
  /** Wall-clock ms. */
  wall(): number;
  /** Calls back once, `ms` from now; returns the way to cancel it. */
  wake(ms: number, callback: () => void): () => void;
}

/** What the scheduler depends on. Only `log` has no default. */
export interface CheckEnvironment {
  readonly log: ErrorLog;
  readonly clock?: Clock;
  readonly connect?: Connect;
  /** 0 ≤ random < 1. */
  readonly random?: () => number;
  /** Each change of state, besides its log line: for events, and for nodes that watch one another. */
  readonly onChange?: (change: Change) => void;
  /** How late a check started, in ms: for measurements. */
  readonly onStart?: (late: number) => void;
}

export interface Checks {
  stop(): void;
  /** A new generation: checks that are in both go on as they were, without a burst. Later lines go to `log`, if given. */
  update(plan: BoundPlan, log?: ErrorLog): void;
  /** Shares the checks that are shared with these nodes from now on; undefined: what they have decided stays. */
  follow(group: CheckGroup | undefined): void;
  /** The observers of servers are others now: checks begin and end as the group says. */
  share(): void;
  decide(decision: Decision): void;
}

/** Checks due within this many ms are started together, at most STARTS_A_TURN in one turn of the event loop. */
const GRAIN = 4;
const STARTS_A_TURN = 256;
/** Delay between the passes of a server that has no verdict yet: grows by this with each. */
const QUICK = 25;
/** A `check` runs early by up to this fraction of the interval, so that checks do not stay synchronised. */
const EARLY = 0.05;
/** The fractional part of the golden ratio: its multiples spread evenly over an interval. */
const GOLDEN = 0.6180339887498949;
/** A deadline that fires this late (ms) means that this process was stalled. */
const STALLED = 100;
const LOCAL_LOG_EVERY = 10_000;

/** A running check of one server. Its one timer is the start of the next check, or the deadline of the current one. */
interface Runner extends Due {
  check: PlannedCheck;
  record: number;
  connection: CheckConnection;
  running: boolean;
  /** The deadline of the current check was extended once because this process was stalled. */
  excused: boolean;
  /** When the check under way was to start; the next one is an interval later. */
  slot: number;
  /** Checks done in quick succession. */
  quick: number;
  /** Other nodes run it: it is not in the heap. */
  idle: boolean;
  /** It has its phase in the interval: from now on `slot` advances by whole intervals. */
  placed: boolean;
  /** Place in the interval, 0 to 1. */
  readonly phase: number;
}

/** The real clock. Pending I/O is handled before due timers: a stalled process must not fail its servers' checks. */
const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  wake(ms, callback) {
    let cancelled = false;
    const wake = (): void => {
      if (!cancelled) callback();
    };
    const timer = startTimer(ms, () => defer(wake, undefined));
    return () => {
      cancelled = true;
      timer.clear();
    };
  },
};

/**
 * Starts the checks of a plan in this process. It alone knows rise, fall, jitter and state: a first check runs at once
 * and, while it passes, is repeated in quick succession until `rise` passes in a row were seen. From the first failure
 * on, and from the verdict on, a check starts every interval, or as soon as the one before has ended: `fall` failures
 * take their time whatever happened before them. `timeout` bounds each check from connecting to the verdict.
 *
 * It knows nothing of upstreams but their names: whoever makes a plan can have its targets watched (the nodes of a
 * cluster, say), reads the states by the plan's records, and hears of changes through `onChange`.
 */
export function startChecks(plan: BoundPlan, environment: CheckEnvironment): Checks {
  return new Scheduler(plan, environment);
}

class Scheduler implements Checks {
  private log: ErrorLog;
  private readonly clock: Clock;
  private readonly connect: Connect;
  private readonly random: () => number;
  private readonly onChange: ((change: Change) => void) | undefined;
  private readonly onStart: ((late: number) => void) | undefined;
  private states: HealthStates;
  private runners = new Map<string, Runner>();
  private readonly heap = new DueHeap<Runner>();
  private groups: Groups | undefined = undefined;
  private group: CheckGroup | undefined = undefined;
  private cancelWake: (() => void) | undefined = undefined;
  private wakeAt = Number.POSITIVE_INFINITY;
  private turning = false;
  private localLogged = Number.NEGATIVE_INFINITY;
  private made = 0;
  private readonly offset: number;

  constructor(plan: BoundPlan, environment: CheckEnvironment) {
    this.log = environment.log;
    this.clock = environment.clock ?? SYSTEM_CLOCK;
    this.connect = environment.connect ?? engine().connect;
    this.random = environment.random ?? Math.random;
    this.offset = this.random();
    this.onChange = environment.onChange;
    this.onStart = environment.onStart;
    this.states = plan.states;
    this.update(plan);
  }

  stop(): void {
    this.cancelWake?.();
    this.cancelWake = undefined;
    this.wakeAt = Number.POSITIVE_INFINITY;
    for (const runner of this.runners.values()) this.retire(runner);
    this.runners.clear();
  }

  update(plan: BoundPlan, log = this.log): void {
    this.log = log;
    const previous = this.runners;
    const from = this.states;
    const runners = new Map<string, Runner>();
    const now = this.clock.now();
    this.states = plan.states;
    plan.checks.forEach((check, number) => {
      const record = plan.records[number];
      const old = previous.get(check.key);
      previous.delete(check.key);
      if (old !== undefined && !plan.states.zone.same(from.zone)) plan.states.copy(record, from, old.record);
      runners.set(check.key, old === undefined ? this.begin(check, record, now) : this.goOn(old, check, record, now));
    });
    for (const gone of previous.values()) this.retire(gone);
    this.runners = runners;
    this.groups = new Groups(plan, this.log, this.groups);
    this.group?.planned(plan);
    this.sleep();
  }

  follow(group: CheckGroup | undefined): void {
    this.group = group;
  }

  share(): void {
    const now = this.clock.now();
    for (const runner of this.runners.values()) this.assign(runner, now);
    this.sleep();
  }

  decide(decision: Decision): void {
    this.groups?.decide(decision, this.clock.wall());
  }

  private assign(runner: Runner, now: number): void {
    const { check, record } = runner;
    const idle = !this.isOwn(check);
    if (!idle && runner.idle) {
      runner.idle = false;
      runner.quick = 0;
      runner.slot = now;
      // What was found, here or by others, stays until there is a verdict, so that there is no hurry.
      if (this.states.verdict(record) || this.groups?.isDecided(record)) this.place(runner, now);
      this.heap.set(runner, runner.slot);
    } else if (idle) {
      if (!runner.idle) this.retire(runner);
      runner.idle = true;
      if (this.group !== undefined) this.states.setAside(record);
    }
  }

  /** Whether this node is the one to run a check. */
  private isOwn({ upstream, name, definition }: PlannedCheck): boolean {
    return (definition.sharing?.observers ?? 0) === 0 || this.group?.runs(upstream, name) === true;
  }

  private begin(check: PlannedCheck, record: number, now: number): Runner {
    const { states } = this;
    const runner: Runner = {
      check,
      record,
      connection: this.connectionOf(check),
      running: false,
      excused: false,
      slot: now,
      quick: 0,
      idle: false,
      placed: false,
      phase: (this.offset + this.made++ * GOLDEN) % 1,
      due: 0,
      place: -1,
    };
    // The checker was restarted: known states are kept, and servers whose failures are being counted keep the interval.
    if (states.verdict(record) || this.isFailing(runner)) this.place(runner, now);
    if (this.isOwn(check)) this.heap.set(runner, runner.slot);
    else this.assign(runner, now);
    return runner;
  }

  private goOn(runner: Runner, check: PlannedCheck, record: number, now: number): Runner {
    const { definition } = check;
    const { definition: before, server } = runner.check;
    const { requests, time } = before.keep;
    runner.record = record;
    // The server's name may have changed, and ssl_hello sends it. What is trusted over TLS may have.
    const other = server !== check.server || definition.tls !== undefined;
    if (requests !== definition.keep.requests || time !== definition.keep.time || other) {
      runner.connection.close();
      runner.connection = this.connectionOf(check);
      if (runner.running) {
        runner.running = false;
        this.heap.set(runner, now);
      }
    }
    runner.check = check;
    this.assign(runner, now);
    if (runner.idle) return runner;
    const latest = now + (runner.running ? definition.timeout : definition.interval);
    if (runner.due > latest) this.heap.set(runner, latest);
    if (runner.slot > latest) runner.slot = latest;
    return runner;
  }

  private retire(runner: Runner): void {
    runner.running = false;
    runner.connection.close();
    this.heap.remove(runner);
  }

  private connectionOf(check: PlannedCheck): CheckConnection {
    const probe = probeOf(check.definition, check.server);
    const { key } = check;
    const { connect } = this;
    const { tls: settings } = check.definition;
    const tls = settings === undefined ? undefined : clientSettings(settings, check.server);
    return new CheckConnection(check.target, probe, check.definition.keep, { connect, tls }, (verdict, local) => {
      const runner = this.runners.get(key);
      if (runner?.running) this.ended(runner, verdict, local);
    });
  }

  private turn(): void {
    this.cancelWake = undefined;
    this.wakeAt = Number.POSITIVE_INFINITY;
    this.turning = true;
    const now = this.clock.now();
    let starts = 0;
    for (let runner = this.heap.first; runner !== undefined && runner.due <= now; runner = this.heap.first) {
      if (!runner.running && ++starts > STARTS_A_TURN) break;
      try {
        if (runner.running) this.late(runner, now);
        else this.start(runner, now);
      } catch (error) {
        // The other checks go on; this one counts as failed.
        this.heap.set(runner, now + runner.check.definition.interval);
        runner.connection.onFault(error);
      }
    }
    this.turning = false;
    this.sleep();
  }

  private sleep(): void {
    if (this.turning) return;
    const { first } = this.heap;
    if (first === undefined) return;
    if (this.wakeAt <= first.due + GRAIN) return;
    const now = this.clock.now();
    const at = Math.max(first.due, now);
    this.cancelWake?.();
    this.wakeAt = at;
    this.cancelWake = this.clock.wake(first.due <= now ? 0 : Math.max(GRAIN, Math.ceil(at - now)), () => this.turn());
  }

  private start(runner: Runner, now: number): void {
    this.onStart?.(now - runner.due);
    runner.running = true;
    runner.excused = false;
    this.heap.set(runner, now + runner.check.definition.timeout);
    runner.connection.start();
  }

  private late(runner: Runner, now: number): void {
    const { timeout } = runner.check.definition;
    const stalled = now - runner.due;
    // This process was stalled: what the server has sent was read, but the request may not have been sent in full.
    if (stalled > STALLED && !runner.excused) {
      runner.excused = true;
      this.heap.set(runner, now + Math.min(stalled, timeout));
      return;
    }
    const stage = runner.connection.abort();
    this.ended(runner, `${stage}timeout after ${timeout} ms`, false);
  }

  private ended(runner: Runner, verdict: Verdict, local: boolean): void {
    runner.running = false;
    if (local) this.excuse(runner.check, verdict);
    else this.count(runner, verdict);
    this.heap.set(runner, this.next(runner, !local && verdict !== PASS));
    this.sleep();
  }

  /** When the next check of a runner is due. `failed`: the one that has just ended counts as a failure. */
  private next(runner: Runner, failed: boolean): number {
    const { interval, jitter } = runner.check.definition;
    const now = this.clock.now();
    if (!failed && !this.states.verdict(runner.record)) {
      runner.placed = false;
      runner.slot = now + Math.min(interval, QUICK * ++runner.quick);
      return runner.slot;
    }
    if (runner.placed) runner.slot = Math.max(now, runner.slot + interval);
    else this.place(runner, now);
    const shift = jitter > 0 ? jitter * this.random() : -EARLY * interval * this.random();
    return Math.max(now, runner.slot + shift);
  }

  /** Gives a check its phase in the interval that begins now, or in the next one where a failure counts. */
  private place(runner: Runner, now: number): void {
    const { interval } = runner.check.definition;
    runner.quick = 0;
    runner.placed = true;
    runner.slot = now + interval * ((this.isFailing(runner) ? 1 : 0) + runner.phase);
  }

  /** Failures are being counted against a server that is up. */
  private isFailing({ record }: Runner): boolean {
    return this.states.up(record) && this.states.failures(record) > 0;
  }

  /** A check that this machine could not run: no state changes. */
  private excuse(check: PlannedCheck, reason: string): void {
    const now = this.clock.now();
    if (now - this.localLogged < LOCAL_LOG_EVERY) return;
    this.localLogged = now;
    this.log.write(
      "crit",
      `cannot check peer: ${checkAddress(check)}, upstream: "${check.upstream}", reason: ${reason}`,
    );
  }

  private count(runner: Runner, verdict: Verdict): void {
    const { states } = this;
    const { record, check } = runner;
    const { rise, fall } = check.definition;
    const wall = this.clock.wall();
    const passed = verdict === PASS;
    const reached = passed ? states.pass(record, wall) >= rise : states.fail(record, wall, verdict) >= fall;
    const first = reached && !states.verdict(record);
    const other = reached && states.up(record) !== passed;
    if (first) states.setVerdict(record, true);
    if (other) this.change(runner, passed, verdict, wall);
    else if (first && !passed) this.log.write("error", stillDown(check, verdict));
    if (this.group !== undefined && (first || other || !passed)) this.tell(this.group, record);
  }

  /** The group hears of verdicts, of changes, and of each failure: its reason may be another one. */
  private tell(group: CheckGroup, record: number): void {
    for (const [upstream, server] of this.groups?.serversOf(record) ?? []) group.found(upstream, server);
  }

  private change(runner: Runner, up: boolean, reason: Verdict, wall: number): void {
    const { states } = this;
    const { record, check } = runner;
    const change: Change = { check, up, reason, lasted: Math.max(0, wall - states.since(record)) };
    states.change(record, up, wall);
    this.groups?.changed(record);
    this.log.write("error", changed(change));
    this.onChange?.(change);
  }
}

function stillDown(check: PlannedCheck, reason: string): string {
  const { upstream, definition } = check;
  return `check peer is down: ${checkAddress(check)}, upstream: "${upstream}", check: ${definition.label}, reason: ${reason}, since the start`;
}
