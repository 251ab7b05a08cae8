import { readFileSync } from "node:fs";
import { sentence } from "../../config/errors.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import { isHeir } from "../../sys/launch.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import { startedAsRoot } from "../../sys/users.ts";
import type { OwnState } from "../own_state.ts";
import type { AddressZone, VrrpState } from "./address_zone.ts";
import { Keepalived } from "./keepalived.ts";
import { FILE, instanceName, keepalivedConf, type OwnAddress } from "./keepalived_conf.ts";
import { WEIGHT } from "./priority.ts";

/** How often the master looks at how its children do, and says that it lives, ms. */
const TICK_MS = 100;
/** For so long keepalived's script believes it, in hundredths of a second; and while a configuration is read. */
const LEASE = 100;
const LONG_LEASE = 6000;
/** No worker was seen for so long: there is none, or all hang, ms. */
const WORKERS_MS = 2000;
/** The checker was not seen for so long; others have taken it for dead by then, ms. */
const CHECKER_MS = 3000;
/** How long keepalived may take to end, ms. */
const END_MS = 1000;
const STEP_MS = 10;

/** The master that this one takes the place of, while it lives: keepalived is its. */
const predecessor = isHeir ? process.ppid : undefined;

/** The addresses of a configuration, and what this node's processes know of them. */
export interface Addresses {
  readonly node: string;
  readonly addresses: readonly OwnAddress[];
  readonly zone: AddressZone;
  readonly own: OwnState;
  /** Where keepalived's files are. */
  readonly directory: string;
  readonly log: ErrorLog;
}

/** In the master: gives keepalived its configuration, tells it at every moment whether this node can serve, and keeps it running. */
export class AddressKeeper {
  #now: Addresses;
  #keepalived: Keepalived;
  #timer: Timer | undefined;
  /** It has read the configuration that is in force. */
  #configured = false;
  readonly #weights = new Map<string, number>();

  constructor(addresses: Addresses) {
    this.#now = addresses;
    this.#keepalived = this.#open();
    this.#begin();
  }

  /** Another configuration takes effect. */
  change(addresses: Addresses): void {
    const moved = addresses.directory !== this.#now.directory;
    if (moved) this.leave();
    this.#now = addresses;
    if (moved) this.#keepalived = this.#open();
    this.#configured = false;
    this.#begin();
  }

  /** The master is to read a configuration, and does nothing else meanwhile. */
  reading(): void {
    if (this.#configured) this.#keepalived.note(FILE.alive, uptime() + LONG_LEASE);
  }

  #open(): Keepalived {
    const states: Readonly<Record<string, VrrpState>> = { MASTER: "master", BACKUP: "backup", FAULT: "fault" };
    return new Keepalived(
      this.#now.directory,
      () => this.#now.log,
      (instance, state) => {
        const number = this.#now.addresses.findIndex((address) => instanceName(address) === instance);
        if (number < 0) return;
        const { log, zone, addresses } = this.#now;
        zone.setState(number, states[state] ?? "none");
        const { host, dev } = addresses[number];
        log.write(
          "notice",
          `address ${host} on ${dev}: this node is ${state === "STOP" ? "not part any more" : state}`,
        );
      },
    );
  }

  #begin(): void {
    this.#timer?.clear();
    if (!startedAsRoot) {
      this.#now.log.write("error", "keepalived needs root: this node has no virtual addresses");
      return;
    }
    this.#tick();
  }

  #tick(): void {
    this.#timer = startTimer(TICK_MS, () => this.#tick());
    if (predecessor !== undefined && process.ppid === predecessor) return;
    try {
      if (!this.#configured) this.#configure();
      this.#notes();
      if (!this.#keepalived.tick(performance.now())) this.#forgetStates();
    } catch (error) {
      this.#now.log.write("error", `the virtual addresses are not looked after: ${sentence(error)}`);
      this.#timer.clear();
      this.#timer = startTimer(10 * TICK_MS, () => this.#tick());
    }
  }

  #configure(): void {
    const { node, addresses, directory } = this.#now;
    this.#keepalived.prepare();
    this.#weights.clear();
    this.#notes();
    if (this.#keepalived.write(FILE.conf, keepalivedConf(node, addresses, directory))) this.#keepalived.reload();
    this.#configured = true;
  }

  #notes(): void {
    const { addresses } = this.#now;
    this.#keepalived.note(FILE.alive, uptime() + LEASE);
    addresses.forEach((address, number) => {
      const name = instanceName(address);
      const weight = this.#weight(number);
      if (this.#weights.get(name) === weight) return;
      this.#weights.set(name, weight);
      this.#keepalived.note(name, weight);
    });
  }

  #weight(number: number): number {
    const { zone, own } = this.#now;
    if (own.state === "leaving" || own.state === "starting") return WEIGHT.fault;
    if (zone.workersAge > WORKERS_MS || zone.checkerAge > CHECKER_MS) return WEIGHT.fault;
    return zone.wanted(number);
  }

  #forgetStates(): void {
    const { addresses, zone } = this.#now;
    for (let number = 0; number < addresses.length; number++) zone.setState(number, "none");
  }

  /** Gives the addresses up: the others have them before this resolves. Not where another master goes on with keepalived. */
  async end(): Promise<void> {
    this.#timer?.clear();
    if (predecessor !== undefined && process.ppid === predecessor) return;
    for (let left = END_MS; left > 0 && !this.#keepalived.stop(); left -= STEP_MS) {
      await new Promise<void>((resolve) => void startTimer(STEP_MS, resolve));
    }
    this.#keepalived.stop("SIGKILL");
    this.#forgetStates();
  }

  /** The same at once. */
  leave(): void {
    this.#timer?.clear();
    if (predecessor !== undefined && process.ppid === predecessor) return;
    this.#keepalived.stop();
    this.#keepalived.close();
  }

  /** Another master goes on with it. */
  release(): void {
    this.#timer?.clear();
    this.#keepalived.close();
  }
}

/** Hundredths of a second since the system's start, as the script reads them. */
function uptime(): number {
  const [text] = readFileSync("/proc/uptime", "latin1").split(" ");
  return Number(text.replace(".", ""));
}
