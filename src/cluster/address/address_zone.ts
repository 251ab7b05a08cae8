import type { LetGo } from "../../http/conf/module.ts";
import { MAX_WORKERS } from "../../runtime/application.ts";
import type { Zone, ZoneKind } from "../../shm/zone.ts";
import { WEIGHT } from "./priority.ts";
import { MOST_ADDRESSES } from "./virtual_ip.ts";

/** What this node's processes tell each other of its addresses: workers and checker that they live, checker and master the rest. */
export const ADDRESS_ZONE: ZoneKind = { name: "cluster address", version: 1 };

const CHECKER = 0;
/** Which connections workers are to let go. */
const LETTING_GO = 1;
const LET_GO: readonly LetGo[] = ["none", "answered", "all"];
const WORKERS = 16;
const ADDRESSES = WORKERS + MAX_WORKERS;
/** Words of an address. */
const ADDRESS = { wanted: 0, state: 1, handBack: 2, words: 4 } as const;
export const ADDRESS_BYTES = 4 * (ADDRESSES + MOST_ADDRESSES * ADDRESS.words);

/** Of keepalived's instance of an address. "none": keepalived does not run, or has not said yet. */
export type VrrpState = "none" | "backup" | "master" | "fault";
const STATES: readonly VrrpState[] = ["none", "backup", "master", "fault"];

export class AddressZone {
  readonly #words: Int32Array;

  constructor({ words }: Zone) {
    this.#words = words;
  }

  // ---- signs of life: the system's monotonic clock in ms, which all processes have in common; 0: there was none

  checkerLives(): void {
    Atomics.store(this.#words, CHECKER, beat());
  }

  workerLives(slot: number): void {
    Atomics.store(this.#words, WORKERS + slot, beat());
  }

  forgetWorker(slot: number): void {
    Atomics.store(this.#words, WORKERS + slot, 0);
  }

  /** ms since the checker has been seen alive. */
  get checkerAge(): number {
    return age(Atomics.load(this.#words, CHECKER));
  }

  /** The same of that worker which was seen last. */
  get workersAge(): number {
    let youngest = Number.POSITIVE_INFINITY;
    for (let slot = 0; slot < MAX_WORKERS; slot++) {
      youngest = Math.min(youngest, age(Atomics.load(this.#words, WORKERS + slot)));
    }
    return youngest;
  }

  // ---- what the master asks of workers

  set lettingGo(how: LetGo) {
    Atomics.store(this.#words, LETTING_GO, LET_GO.indexOf(how));
  }

  get lettingGo(): LetGo {
    return LET_GO[Atomics.load(this.#words, LETTING_GO)] ?? "none";
  }

  // ---- of the address with that number

  /** The checker's: what is to be added to its priority. */
  want(number: number, weight: number): void {
    Atomics.store(this.#words, ADDRESSES + number * ADDRESS.words + ADDRESS.wanted, weight);
  }

  wanted(number: number): number {
    return Math.max(WEIGHT.fault, Math.min(WEIGHT.holder, this.#word(number, ADDRESS.wanted)));
  }

  /** The checker's: another node is to have it, which serves, and which it rather belongs to. */
  handBack(number: number, on: boolean): void {
    Atomics.store(this.#words, ADDRESSES + number * ADDRESS.words + ADDRESS.handBack, on ? 1 : 0);
  }

  handsBack(number: number): boolean {
    return this.#word(number, ADDRESS.handBack) !== 0;
  }

  /** The master's: what keepalived says. */
  setState(number: number, state: VrrpState): void {
    Atomics.store(this.#words, ADDRESSES + number * ADDRESS.words + ADDRESS.state, STATES.indexOf(state));
  }

  state(number: number): VrrpState {
    return STATES[this.#word(number, ADDRESS.state)] ?? "none";
  }

  #word(number: number, word: number): number {
    return Atomics.load(this.#words, ADDRESSES + number * ADDRESS.words + word);
  }
}

function clock(): number {
  return Number(process.hrtime.bigint() / 1_000_000n) | 0;
}

function beat(): number {
  return clock() || 1;
}

function age(beat: number): number {
  return beat === 0 ? Number.POSITIVE_INFINITY : (clock() - beat) | 0;
}
