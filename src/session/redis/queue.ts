import type { Environment, Table } from "../zone/environment.ts";
import type { WaitingSessions } from "../zone/store.ts";
import { readSession, type StoredSession } from "../zone/stored_session.ts";
import { isLiving } from "./remote.ts";

/**
 * What the store of a group is still to be told, in LMDB: for each session that was changed without it, how the session was when the
 * store had it last, and how it is now. So all that was done to a session meanwhile waits as one change, whatever its number, and what
 * another node has done is found by comparing.
 */

export interface Unsent {
  /** What the store had last; undefined: nothing, or nobody here knows. */
  readonly base: StoredSession | undefined;
  /** The id it had in the store, where it was renewed meanwhile. */
  readonly from: Buffer | undefined;
  /** The version that the store was asked to take when it did not answer: it may have it, or take it yet. 0: it was asked nothing. */
  readonly tried: number;
  /** It may also be a mark: that it has another id now, or that it was deleted. */
  readonly current: StoredSession;
}

export class Queue implements WaitingSessions {
  readonly #environment: Environment;
  readonly #size: number;

  /** `size`: bytes that it may take. */
  constructor(environment: Environment, size: number) {
    this.#environment = environment;
    this.#size = size;
  }

  get #table(): Table {
    return this.#environment.queue;
  }

  /** What there is of a session. */
  get(id: Buffer): Unsent | undefined {
    return decode(this.#table.getBinary(id));
  }

  has(id: Buffer): boolean {
    return this.#table.doesExist(id);
  }

  living(id: Buffer, now: number): StoredSession | undefined {
    const current = this.get(id)?.current;
    return isLiving(current, now) ? current : undefined;
  }

  /** Within a transaction. */
  put(id: Buffer, unsent: Unsent): void {
    this.#table.putSync(id, encode(unsent));
  }

  /** Within a transaction. */
  remove(id: Buffer): void {
    this.#table.removeSync(id);
  }

  ids(most: number, after: Buffer | undefined): Buffer[] {
    this.#table.resetReadTxn();
    const range = after === undefined ? {} : { start: after, exclusiveStart: true };
    return [...this.#table.getKeys({ limit: most, ...range })].map((id) => Buffer.from(id));
  }

  get usage(): WaitingSessions["usage"] {
    this.#table.resetReadTxn();
    return this.#measure();
  }

  /** Within a transaction: whether another session has no room. */
  get full(): boolean {
    return this.#measure().bytes >= this.#size;
  }

  #measure(): WaitingSessions["usage"] {
    const stats: object = this.#table.getStats();
    const number = (name: string): number => Number(Reflect.get(stats, name));
    const pages = number("treeBranchPageCount") + number("treeLeafPageCount") + number("overflowPages");
    return { sessions: number("entryCount"), bytes: pages * number("pageSize"), size: this.#size };
  }
}

/** Before the rest: the base's length, that of `from`, and `tried`. */
const HEAD = 11;
const NOTHING = Buffer.alloc(0);

function encode({ base, from, tried, current }: Unsent): Buffer {
  const head = Buffer.alloc(HEAD);
  head.writeUInt32LE(base?.bytes.length ?? 0, 0);
  head.writeUInt8(from?.length ?? 0, 4);
  head.writeUIntLE(tried, 5, 6);
  return Buffer.concat([head, base?.bytes ?? NOTHING, from ?? NOTHING, current.bytes]);
}

function decode(bytes: Buffer | undefined): Unsent | undefined {
  if (bytes === undefined || bytes.length < HEAD) return undefined;
  const fromAt = HEAD + bytes.readUInt32LE(0);
  const currentAt = fromAt + bytes.readUInt8(4);
  const current = readSession(bytes.subarray(currentAt));
  if (current === undefined) return undefined;
  return {
    base: fromAt === HEAD ? undefined : readSession(bytes.subarray(HEAD, fromAt)),
    from: currentAt === fromAt ? undefined : bytes.subarray(fromAt, currentAt),
    tried: bytes.readUIntLE(5, 6),
    current,
  };
}
