import { startTimer } from "../sys/timers.ts";
import type { Sockets, WorkerService } from "./application.ts";
import type { BuiltCycle } from "./build_cycle.ts";
import type { ChildTask } from "./child.ts";
import { coreDirectives, eventsOf } from "./directives.ts";
import { initProcess } from "./init_process.ts";
import type { ErrorLog } from "./log/log.ts";

/** A worker: runs the whole request path. */
export class Worker implements ChildTask {
  readonly #index: number;
  readonly #slot: number;
  readonly #allRetired: () => void;
  /** Of the cycle in force. */
  #service: WorkerService | undefined;
  #shutdownTimeout: number | undefined;
  #previous: WorkerService | undefined;
  /** Of earlier cycles that still have requests to finish. */
  readonly #retiring = new Set<WorkerService>();
  /** To call when the last of them has retired; set once the service in force has no connection left. */
  #done: (() => void) | undefined;

  constructor(index: number, slot: number, allRetired: () => void) {
    this.#index = index;
    this.#slot = slot;
    this.#allRetired = allRetired;
  }

  get retiring(): boolean {
    return this.#retiring.size > 0;
  }

  init({ cycle }: BuiltCycle, log: ErrorLog): void {
    initProcess(cycle.root, this.#index, log);
  }

  async take({ cycle, application }: BuiltCycle, workers: number, sockets: Sockets) {
    const core = coreDirectives.in(cycle.root);
    const { worker_connections: connections } = eventsOf(cycle.root);
    const context = { index: this.#index, slot: this.#slot, count: workers, connections };
    const service = application.serve(context, this.#service);
    const errors = await service.listen(sockets);
    this.#previous = this.#service;
    this.#service = service;
    this.#shutdownTimeout = core.worker_shutdown_timeout;
    return errors;
  }

  async listen(sockets: Sockets): Promise<readonly string[]> {
    return (await this.#service?.listen(sockets)) ?? [];
  }

  retirePrevious(): void {
    const service = this.#previous;
    if (service === undefined) return;
    this.#previous = undefined;
    const retired = (): void => {
      timer?.clear();
      if (!this.#retiring.delete(service) || this.retiring) return;
      this.#allRetired();
      this.#done?.();
    };
    const expire = (): void => {
      service.expire?.();
      retired();
    };
    this.#retiring.add(service);
    const timeout = this.#shutdownTimeout;
    const timer = timeout === undefined ? undefined : startTimer(timeout, expire);
    service.retire(retired);
  }

  quit(closed: () => void, done: () => void): void {
    if (this.#service === undefined) {
      done();
      return;
    }
    if (this.#shutdownTimeout !== undefined) startTimer(this.#shutdownTimeout, done);
    this.#service.quit(closed, () => {
      this.#done = done;
      if (!this.retiring) done();
    });
  }

  stop(): void {
    for (const service of this.#retiring) service.expire?.();
    this.#service?.stop();
  }
}
