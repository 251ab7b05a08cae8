import type { Report } from "../report/report.ts";

/**
 * What a node finds of another subject: a node, a server of an upstream, an address. `since`: ms since 1970 when it found that
 * first. `reason`: why it is down, "" where it is not.
 */
export interface Opinion {
  readonly state: OpinionState;
  readonly since: number;
  readonly reason: string;
  /** Of a server's report: what it has said, and since when. */
  readonly report?: Omit<Report, "reason" | "at">;
}

/** "unknown": it looks, and has no verdict yet. */
export type OpinionState = "up" | "down" | "unknown";

/** The subjects of opinions, as keys: what one is, and its names. */
export const nodeKey = (node: string): string => `n ${node}`;
/** The node that a key is of; undefined: it is of another subject. */
export const keyedNode = (key: string): string | undefined => (key.startsWith("n ") ? key.slice(2) : undefined);
export const serverKey = (upstream: string, server: string): string => `s ${upstream} ${server}`;
/** "up": the node has that address. The reason says why or why not. */
export const addressKey = (host: string): string => `a ${host}`;
/** What a server has said of itself. */
export const reportKey = (upstream: string, server: string): string => `r ${upstream} ${server}`;
/** The server that such a key is of. */
export function reportedServer(key: string): readonly [upstream: string, server: string] | undefined {
  const [kind, upstream, ...server] = key.split(" ");
  return kind === "r" ? [upstream, server.join(" ")] : undefined;
}

/** Changes since some number, to bring an older copy up to date. */
export interface Changes {
  /** The copy's number they build on; 0: they are made anew, whatever the copy had. */
  readonly from: number;
  readonly to: number;
  /** null: the node says nothing of it any more. */
  readonly opinions: Readonly<Record<string, Opinion | null>>;
}

/** Characters of a key. What has a longer one is not told: no other node would take it. */
export const MOST_KEY = 1024;
/** About so many bytes of changes are told at a time; the next answer goes on there. */
const MOST_BYTES = 512 * 1024;
const BYTES_OF_AN_OPINION = 64;
/** So many subjects that are gone are remembered. */
const MOST_GONE = 1000;

interface Entry {
  readonly opinion: Opinion | null;
  readonly number: number;
}

/**
 * A node's own opinions. Each change has a number, so that who knows all up to some number is told what came later: while
 * nothing changes, the group's messages are small, however many subjects there are.
 */
export class Opinions {
  #number = 0;
  readonly #entries = new Map<string, Entry>();
  /** What was changed, in the order of the numbers; those changed again later are still in it. */
  #log: (readonly [key: string, number: number])[] = [];
  /** Those that are gone, and the number up to which they were forgotten: copies older than that are made anew. */
  #forgotten = 0;
  #gone = 0;

  /** Grows with each change. */
  get number(): number {
    return this.#number;
  }

  get(key: string): Opinion | undefined {
    return this.#entries.get(key)?.opinion ?? undefined;
  }

  /** Returns whether that is a change. */
  set(key: string, opinion: Opinion): boolean {
    const known = this.get(key);
    if (known !== undefined && isSame(known, opinion)) return false;
    this.#put(key, opinion);
    return true;
  }

  delete(key: string): void {
    if (this.get(key) === undefined) return;
    this.#put(key, null);
    if (++this.#gone > MOST_GONE) this.#forget();
  }

  #put(key: string, opinion: Opinion | null): void {
    if (key.length > MOST_KEY) return;
    const number = ++this.#number;
    this.#entries.set(key, { opinion, number });
    this.#log.push([key, number]);
    if (this.#log.length > 2 * this.#entries.size + MOST_GONE) this.#compact();
  }

  #forget(): void {
    for (const [key, { opinion }] of this.#entries) if (opinion === null) this.#entries.delete(key);
    this.#forgotten = this.#number;
    this.#gone = 0;
    this.#compact();
  }

  #compact(): void {
    this.#log = this.#log.filter(([key, number]) => this.#entries.get(key)?.number === number);
  }

  *entries(): Generator<readonly [key: string, opinion: Opinion]> {
    for (const [key, { opinion }] of this.#entries) if (opinion !== null) yield [key, opinion];
  }

  /**
   * `known`: up to which number the copy is complete; 0: there is none. Where that is too much for one answer, they are the
   * first of it: `to` is how far they go.
   */
  since(known: number): Changes {
    const from = known > this.#number || known < this.#forgotten ? 0 : known;
    const opinions: Record<string, Opinion | null> = {};
    let bytes = 0;
    for (let at = this.#after(from); at < this.#log.length; at++) {
      const [key, number] = this.#log[at];
      const entry = this.#entries.get(key);
      if (entry?.number !== number || (entry.opinion === null && from === 0)) continue;
      opinions[key] = entry.opinion;
      bytes += BYTES_OF_AN_OPINION + key.length + (entry.opinion?.reason.length ?? 0);
      if (bytes > MOST_BYTES) return { from, to: number, opinions };
    }
    return { from, to: this.#number, opinions };
  }

  /** Where in the log the changes after that number begin. */
  #after(number: number): number {
    let low = 0;
    let high = this.#log.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#log[middle][1] > number) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

function isSame(one: Opinion, other: Opinion): boolean {
  if (one.state !== other.state || one.reason !== other.reason) return false;
  const { report } = other;
  return report === undefined ? one.report === undefined : one.since === other.since && one.report?.by === report.by;
}

/** An opinion of a key has become another one; undefined: there is none. */
export type OpinionChanged = (key: string, before: Opinion | undefined, after: Opinion | undefined) => void;

/** The most subjects that a node may have opinions of. */
const MOST_OPINIONS = 50_000;

/** Another node's opinions, as it has told them. */
export class OpinionsCopy {
  number = 0;
  readonly known = new Map<string, Opinion>();

  readonly #changed: OpinionChanged;

  constructor(changed: OpinionChanged) {
    this.#changed = changed;
  }

  /** They are of more subjects than a node can mean. */
  get isTooMany(): boolean {
    return this.known.size > MOST_OPINIONS;
  }

  /** `anew`: they are of another run. Returns false where the changes build on what this copy does not have. */
  take({ from, to, opinions }: Changes, anew: boolean): boolean {
    if (from !== 0 && (anew || from !== this.number)) return false;
    if (from === 0) for (const key of this.known.keys()) if (!Object.hasOwn(opinions, key)) this.#put(key, undefined);
    for (const [key, opinion] of Object.entries(opinions)) this.#put(key, opinion ?? undefined);
    this.number = to;
    return true;
  }

  clear(): void {
    this.number = 0;
    for (const key of this.known.keys()) this.#put(key, undefined);
  }

  #put(key: string, opinion: Opinion | undefined): void {
    const before = this.known.get(key);
    if (opinion === undefined) this.known.delete(key);
    else this.known.set(key, opinion);
    if (before !== opinion) this.#changed(key, before, opinion);
  }
}
