import type { CheckerService } from "./application.ts";
import type { BuiltCycle } from "./build_cycle.ts";
import type { ChildTask } from "./child.ts";
import { initProcess } from "./init_process.ts";
import type { ErrorLog } from "./log/log.ts";

/** The checker: runs the active health checks, which no traffic can delay there. */
export class Checker implements ChildTask {
  readonly retiring = false;
  #service: CheckerService | undefined;

  init({ cycle }: BuiltCycle, log: ErrorLog): void {
    initProcess(cycle.root, undefined, log);
  }

  async take({ application }: BuiltCycle) {
    this.#service = application.check(this.#service);
    return [];
  }

  retirePrevious(): void {}

  async listen() {
    return [];
  }

  quit(_closed: () => void, done: () => void): void {
    done();
  }

  stop(): void {
    this.#service?.stop();
  }
}
