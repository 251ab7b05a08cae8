import type { StoredHead } from "./entry_file.ts";

/** A response that is held in memory, as long as the entry's generation in the index is the same. */
export interface HeldResponse {
  readonly head: StoredHead;
  /** A byte string. */
  readonly body: string;
  readonly digest: string;
  /** Where the generation is in the index, and what it was. */
  readonly place: number;
  readonly generation: number;
  /** When its use was last noted in the index, ms of the monotonic clock. */
  usedAt: number;
}

/** Estimated memory of a response besides its texts. */
const OVERHEAD = 1024;

/** The small responses that one worker has in memory, by key; those longest out of use give way. */
export class MemoryTier {
  readonly #most: number;
  readonly #held = new Map<string, HeldResponse>();
  #bytes = 0;

  /** `most`: bytes in all. */
  constructor(most: number) {
    this.#most = most;
  }

  /** What it holds, in all. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The longest body that is held. */
  get longest(): number {
    return Math.min(16 * 1024, this.#most >> 4);
  }

  get(key: string): HeldResponse | undefined {
    return this.#held.get(key);
  }

  put(key: string, response: HeldResponse): void {
    this.drop(key);
    this.#bytes += sizeOf(response);
    this.#held.set(key, response);
    for (const oldest of this.#held.keys()) {
      if (this.#bytes <= this.#most) return;
      this.drop(oldest);
    }
  }

  /** A response has another head and generation now: what is held of the generation before has them too. */
  renew(head: StoredHead, before: number, generation: number): void {
    const held = this.#held.get(head.key);
    if (held?.generation === before) this.#held.set(head.key, { ...held, head, generation });
  }

  drop(key: string): void {
    const held = this.#held.get(key);
    if (held === undefined) return;
    this.#held.delete(key);
    this.#bytes -= sizeOf(held);
  }
}

function sizeOf({ head, body }: HeldResponse): number {
  return OVERHEAD + head.headBytes + body.length;
}
