import type { Zone, ZoneKind } from "../shm/zone.ts";
import type { NodeState } from "./group/messages.ts";

/** What all processes of this node know of its own part in the group: it outlives a checker, a reload and an upgrade. */
export const OWN_ZONE: ZoneKind = { name: "cluster own", version: 1 };
export const OWN_BYTES = 4096;

const DRAINING = 0;
const LEAVING = 1;
/** Its checks had verdicts once. */
const JUDGED = 2;
/** All others know that it leaves. */
const TOLD = 3;
/** Which checker speaks for this node, and when it has last shown that it lives (ms of the system's monotonic clock). */
const SPEAKER = 4;
const SPEAKER_AT = 5;
/** One that has not is gone. */
const SPEAKER_MS = 1000;
/** The holder's name: a number that is odd while it is being written, the bytes, and where they begin. */
const HOLDER_SEQUENCE = 8;
const HOLDER_LENGTH = 9;
const HOLDER_BYTES = 64;
const MOST_HOLDER = 256;

export class OwnState {
  readonly #words: Int32Array;
  readonly #bytes: Buffer;
  /** The name as it was at that number. */
  #holder = "";
  #holderAt = 0;

  constructor({ words, bytes }: Zone) {
    this.#words = words;
    this.#bytes = bytes;
  }

  get state(): NodeState {
    if (this.#is(LEAVING)) return "leaving";
    if (this.#is(DRAINING)) return "draining";
    return this.#is(JUDGED) ? "serving" : "starting";
  }

  /** An administrator takes the node out of service, or lets it in again. */
  drain(on: boolean): void {
    Atomics.store(this.#words, DRAINING, on ? 1 : 0);
  }

  /** The node ends. */
  leave(): void {
    Atomics.store(this.#words, LEAVING, 1);
  }

  /** The checker says so when each node that it hears knows that this one leaves. */
  tell(): void {
    Atomics.store(this.#words, TOLD, 1);
  }

  get told(): boolean {
    return this.#is(TOLD);
  }

  /** All of its checks have verdicts. */
  judged(): void {
    Atomics.store(this.#words, JUDGED, 1);
  }

  /** Of several checkers, while an upgrade goes on, the newest speaks for the node. `speaker`: a random number, not 0. */
  speak(speaker: number): void {
    Atomics.store(this.#words, SPEAKER_AT, monotonic());
    Atomics.store(this.#words, SPEAKER, speaker);
  }

  /** Whether that checker speaks for the node; where the one that did is gone, it does from now on. */
  speaks(speaker: number): boolean {
    const mine = Atomics.load(this.#words, SPEAKER) === speaker;
    if (!mine && ((monotonic() - Atomics.load(this.#words, SPEAKER_AT)) | 0) < SPEAKER_MS) return false;
    this.speak(speaker);
    return true;
  }

  /** That checker leaves: where it has spoken, another one need not wait until it seems to be gone. */
  hush(speaker: number): void {
    if (Atomics.load(this.#words, SPEAKER) !== speaker) return;
    Atomics.store(this.#words, SPEAKER_AT, (monotonic() - SPEAKER_MS) | 0);
  }

  /** Which node has the first virtual address, as the checker knows; "": none. One atomic load while that stays. */
  get holder(): string {
    const sequence = Atomics.load(this.#words, HOLDER_SEQUENCE);
    if (sequence === this.#holderAt || (sequence & 1) !== 0) return this.#holder;
    const length = Math.min(Math.max(0, this.#words[HOLDER_LENGTH]), MOST_HOLDER);
    const name = this.#bytes.latin1Slice(HOLDER_BYTES, HOLDER_BYTES + length);
    if (Atomics.load(this.#words, HOLDER_SEQUENCE) !== sequence) return this.#holder;
    this.#holder = name;
    this.#holderAt = sequence;
    return name;
  }

  /** In the checker. */
  set holder(name: string) {
    if (name === this.holder) return;
    const writing = this.#words[HOLDER_SEQUENCE] | 1;
    Atomics.store(this.#words, HOLDER_SEQUENCE, writing);
    this.#words[HOLDER_LENGTH] = this.#bytes.write(name, HOLDER_BYTES, MOST_HOLDER, "latin1");
    Atomics.store(this.#words, HOLDER_SEQUENCE, (writing + 1) | 0);
  }

  #is(word: number): boolean {
    return Atomics.load(this.#words, word) !== 0;
  }
}

/** All processes have this clock in common. */
function monotonic(): number {
  return Number(process.hrtime.bigint() / 1_000_000n) | 0;
}
