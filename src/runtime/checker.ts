import type { CheckerService, Sockets } from "./application.ts";
import type { BuiltCycle } from "./build_cycle.ts";
import type { ChildTask } from "./child.ts";
import { ControlServer } from "./control/server.ts";
import { initProcess } from "./init_process.ts";
import type { ErrorLog } from "./log/log.ts";

/** The control socket among those that the checker is told of. */
export const CONTROL = "control";

const NO_COMMANDS = new Map<string, never>();

/** The checker: runs the active health checks, which no traffic can delay there, and answers at the control socket. */
export class Checker implements ChildTask {
  readonly retiring = false;
  #service: CheckerService | undefined;
  #log: ErrorLog | undefined;
  readonly #control = new ControlServer();

  init({ cycle }: BuiltCycle, log: ErrorLog): void {
    this.#log = log;
    initProcess(cycle.root, undefined, log);
  }

  async take({ application }: BuiltCycle, _workers: number, sockets: Sockets) {
    this.#service = application.check(this.#service);
    this.#control.commands = application.commands ?? NO_COMMANDS;
    return this.listen(sockets);
  }

  retirePrevious(): void {}

  /** Without its control socket the checker serves all the same. */
  async listen(sockets: Sockets) {
    const failed = await this.#control.listen(sockets[CONTROL]?.[0] ?? -1);
    if (failed !== undefined) this.#log?.write("alert", failed);
    return [];
  }

  quit(_closed: () => void, done: () => void): void {
    done();
  }

  stop(): void {
    this.#control.stop();
    this.#service?.stop();
  }
}
