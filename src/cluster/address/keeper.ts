import { readFileSync } from "node:fs";
import { sentence } from "../../config/errors.ts";
import type { Doors } from "../../runtime/application.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import { isHeir } from "../../sys/launch.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import { startedAsRoot } from "../../sys/users.ts";
import type { OwnState } from "../own_state.ts";
import type { AddressZone, VrrpState } from "./address_zone.ts";
import { connectionsOf } from "./connected.ts";
import { Keepalived } from "./keepalived.ts";
import { FILE, instanceName, keepalivedConf, type OwnAddress } from "./keepalived_conf.ts";
import { WEIGHT } from "./priority.ts";

/** How often the master looks at how its children do, and says that it lives, ms. */
const TICK_MS = 100;
/**
 * For so long keepalived's script believes it, in hundredths of a second; and while a configuration is read. keepalived comes before all
 * others on a busy machine (its priority is -20), where the master may have to wait: to move the address then costs more than it is worth.
 */
const LEASE = 200;
const LONG_LEASE = 6000;
/** And while addresses are handed over: what is planned is not to be cut short since the master has to wait. */
const HANDING_LEASE = 600;
/** No worker was seen for so long: there is none, or all hang, ms. */
const WORKERS_MS = 2000;
/** The checker was not seen for so long; others have taken it for dead by then, ms. */
const CHECKER_MS = 3000;
/** How long keepalived may take to end, ms. */
const END_MS = 1000;
const STEP_MS = 10;
/** How often connections to an address that is handed over are counted, ms. */
const LOOK_MS = 100;
/**
 * Before an address is handed over, ms. First each client that asks for something hears that its connection closes, so that
 * it comes anew; then those that have asked nothing are closed, and new ones wait outside while requests end that are there.
 * Who waits outside tries again after a second, however long this takes.
 */
const LET_GO_MS = 1200;
const HELD_MS = 850;
/** This node takes no part for so many advertisements, so that another has the address. */
const ADVERTS_AWAY = 5;

/** What keepalived says that an instance is now. */
const STATES: Readonly<Record<string, VrrpState>> = {
  MASTER: "master",
  MASTER_RX_LOWER_PRI: "master",
  BACKUP: "backup",
  FAULT: "fault",
};

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
  readonly doors: Doors;
}

/** In the master: gives keepalived its configuration, tells it at every moment whether this node can serve, and keeps it running. */
export class AddressKeeper {
  #now: Addresses;
  #keepalived: Keepalived;
  #timer: Timer | undefined;
  /** It has read the configuration that is in force. */
  #configured = false;
  readonly #weights = new Map<string, number>();
  /** Addresses that are being handed over, and those of them that others are to take now. */
  readonly #handing = new Set<number>();
  readonly #away = new Set<number>();
  /** New connections to them wait outside. */
  readonly #outside = new Set<string>();

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
    return new Keepalived(
      this.#now.directory,
      () => this.#now.log,
      (instance, state) => {
        const number = this.#now.addresses.findIndex((address) => instanceName(address) === instance);
        if (number < 0) return;
        const { log, zone, addresses } = this.#now;
        const next = STATES[state] ?? "none";
        if (next === zone.state(number)) return;
        zone.setState(number, next);
        const { host, dev } = addresses[number];
        log.write("notice", `address ${host} on ${dev}: this node is ${next === "none" ? "out of it" : next}`);
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
    try {
      // From here on keepalived lives as long as this master, and no shorter.
      if (!this.#configured) this.#keepalived.prepare();
      if (predecessor !== undefined && process.ppid === predecessor) return;
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
    this.#weights.clear();
    this.#notes();
    if (this.#keepalived.write(FILE.conf, keepalivedConf(node, addresses, directory))) this.#keepalived.reload();
    this.#configured = true;
  }

  #notes(): void {
    const { addresses } = this.#now;
    this.#keepalived.note(FILE.alive, uptime() + (this.#handing.size > 0 ? HANDING_LEASE : LEASE));
    addresses.forEach((address, number) => {
      const name = instanceName(address);
      const weight = this.#away.has(number) ? WEIGHT.fault : this.#held(number, this.#weight(number));
      if (this.#weights.get(name) === weight) return;
      this.#weights.set(name, weight);
      this.#keepalived.note(name, weight);
    });
  }

  /** Where another node is to have the address and nothing is wrong here, it is handed over: until then this node keeps it. */
  #held(number: number, weight: number): number {
    const { zone, own } = this.#now;
    if (zone.state(number) !== "master") return weight;
    const out = (own.state === "draining" || own.state === "leaving") && weight === WEIGHT.fault;
    if (!out && !zone.handsBack(number)) return weight;
    if (!this.#handing.has(number)) void this.#handOver(number);
    return WEIGHT.holder;
  }

  /** Connections that come wait outside while requests end; then this node takes no part until another has the address. */
  async #handOver(number: number): Promise<void> {
    const { addresses, zone, doors, log } = this.#now;
    const { host, advert } = addresses[number];
    this.#handing.add(number);
    this.#keepalived.note(FILE.alive, uptime() + HANDING_LEASE);
    log.write("notice", `address ${host}: handing it over`);
    try {
      if (zone.lettingGo === "none") zone.lettingGo = "answered";
      await left(host, LET_GO_MS);
      zone.lettingGo = "all";
      this.#outside.add(host);
      doors.hold([...this.#outside]);
      await left(host, HELD_MS);
      this.#away.add(number);
      this.#notes();
      // Whoever came in again before it is gone would be cut off.
      for (let left = END_MS; left > 0 && zone.state(number) === "master"; left -= STEP_MS) await pause(STEP_MS);
      await pause(ADVERTS_AWAY * advert);
    } catch (error) {
      log.write("error", `address ${host} is not handed over: ${sentence(error)}`);
    }
    zone.handBack(number, false);
    this.#away.delete(number);
    this.#handing.delete(number);
    this.#outside.delete(host);
    if (this.#outside.size > 0) doors.hold([...this.#outside]);
    else doors.open();
    if (this.#handing.size === 0) zone.lettingGo = "none";
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

  /** Hands the addresses over, and ends keepalived: the others have them when this resolves. The node leaves, and they know. */
  async end(): Promise<void> {
    const { addresses, zone } = this.#now;
    const holds = (): boolean => addresses.some((_, number) => zone.state(number) === "master");
    for (let left = LET_GO_MS + HELD_MS + END_MS; left > 0 && holds(); left -= STEP_MS) await pause(STEP_MS);
    this.#timer?.clear();
    for (let left = END_MS; left > 0 && !this.#keepalived.stop(); left -= STEP_MS) await pause(STEP_MS);
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

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => void startTimer(ms, resolve));
}

/** Resolves when nothing is connected to that address, or after so many ms. */
async function left(host: string, ms: number): Promise<void> {
  const start = performance.now();
  for (;;) {
    const at = performance.now();
    // Addresses that are handed over together are looked at together.
    if (connectionsOf(host, Math.max(start, at - LOOK_MS / 2)) === 0) return;
    const now = performance.now();
    if (now - start >= ms) return;
    // Of very many connections it takes long to count them.
    await pause(Math.min(start + ms - now, Math.max(LOOK_MS, 4 * (now - at))));
  }
}

/** Hundredths of a second since the system's start, as the script reads them. */
function uptime(): number {
  const [text] = readFileSync("/proc/uptime", "latin1").split(" ");
  return Number(text.replace(".", ""));
}
