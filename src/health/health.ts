import type { HealthView } from "../balancer/peer.ts";
import type { Cycle } from "../runtime/cycle.ts";
import { check } from "./directives.ts";
import { type BoundPlan, bindPlan, type CheckedUpstream, planChecks, recordsOf, viewOf } from "./plan.ts";
import { type CheckEnvironment, type Checks, startChecks } from "./scheduler.ts";
import { HEALTH_ZONE, HealthStates, healthBytes, migrateHealth } from "./state.ts";

/** Active health checks of one generation in one process. */
export interface Health {
  readonly plan: BoundPlan;
  readonly generation: number;
  /** In the checker, once they have started. */
  readonly checks: Checks | undefined;
  /** What a balancing method of the upstream asks; undefined where it has no checks. check_panic is in it. */
  view(upstream: string): HealthView | undefined;
  /**
   * In the checker: starts the checks, or hands those of the previous generation on to this one (the same `Checks` is
   * returned then: it must not be stopped on a reload, and of the environment only `log` counts).
   */
  start(environment: CheckEnvironment, previous?: Checks): Checks;
}

/** Bound of check_shm_size: room for a hundred thousand servers. */
const MAX_SHM_SIZE = 256 * 1024 * 1024;
/** Key of the generation's Health among the notes of its scope tree, for check_status. */
const HEALTH = Symbol("health");

/**
 * Plans the checks of a configuration and finds their states in the shared zone. Called once in each process's `build`,
 * when the upstreams' peers are known (`upstreams` in the order of the configuration), and given each its view.
 * Throws ConfigError.
 */
export function openHealth(cycle: Cycle, upstreams: readonly CheckedUpstream[]): Health {
  const { generation } = cycle.data;
  const planned = planChecks(cycle, upstreams);
  const bytes = healthBytes(recordsOf(planned), shmSize(cycle));
  const states = new HealthStates(
    cycle.zone({ kind: HEALTH_ZONE, name: "checks", size: bytes, migrate: migrateHealth }),
  );
  const health = new CycleHealth(cycle, upstreams, bindPlan(planned, states, generation, Date.now()));
  cycle.root.notes.set(HEALTH, health);
  return health;
}

class CycleHealth implements Health {
  readonly generation: number;
  readonly #cycle: Cycle;
  readonly #upstreams: readonly CheckedUpstream[];
  #plan: BoundPlan;
  /** In the checker. */
  #checks: Checks | undefined = undefined;

  constructor(cycle: Cycle, upstreams: readonly CheckedUpstream[], plan: BoundPlan) {
    this.generation = cycle.data.generation;
    this.#cycle = cycle;
    this.#upstreams = upstreams;
    this.#plan = plan;
    for (const upstream of upstreams) {
      upstream.watch?.(this.view(upstream.name));
      if (this.view(upstream.name) !== undefined) upstream.onChange?.(() => this.#changed(upstream));
    }
  }

  get checks(): Checks | undefined {
    return this.#checks;
  }

  get plan(): BoundPlan {
    return this.#plan;
  }

  view(upstream: string): HealthView | undefined {
    return viewOf(this.#plan, upstream);
  }

  start(environment: CheckEnvironment, previous?: Checks): Checks {
    if (previous === undefined) this.#checks = startChecks(this.#plan, environment);
    else {
      previous.update(this.#plan, environment.log);
      this.#checks = previous;
    }
    return this.#checks;
  }

  /** Names stand for other addresses: their servers' checks come and go. */
  #changed(upstream: CheckedUpstream): void {
    const { states } = this.#plan;
    const planned = planChecks(this.#cycle, this.#upstreams);
    // The checker is the first to know, and it alone decides how the new ones begin.
    const before = this.#checks === undefined ? undefined : this.#plan;
    this.#plan = bindPlan(planned, states, this.generation, Date.now(), before);
    this.#checks?.update(this.#plan);
    upstream.watch?.(this.view(upstream.name));
  }
}

/** check_shm_size of the http block. */
function shmSize(cycle: Cycle): number {
  const http = cycle.root.children.find(({ context }) => context === "http") ?? cycle.root;
  return Math.min(check.in(http).check_shm_size, MAX_SHM_SIZE);
}

/** The health of a configuration's generation; undefined before openHealth. */
export function healthOf(cycle: Cycle): Health | undefined {
  const health = cycle.root.notes.get(HEALTH);
  return health === undefined ? undefined : (health as Health);
}
