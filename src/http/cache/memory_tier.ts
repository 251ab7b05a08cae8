import { now } from "../../sys/clock.ts";
import { startTimer } from "../../sys/timers.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import type { AnswerHead, CacheStatus, RequestCache } from "../core/upstream.ts";
import type { SharedFile } from "../files/static_file.ts";
import type { CacheIndex } from "./cache_index.ts";
import { fieldsText } from "./digest.ts";
import type { StoredHead } from "./entry_file.ts";
import { HeldHead } from "./held_head.ts";
import { ageOf, seconds } from "./validity.ts";

/** An entry's contents in the index: where their generation is, and what it was when they were read. */
export interface Contents {
  readonly place: number;
  readonly generation: number;
}

/** The index, as far as it is asked whether a response is current. */
type Generations = Pick<CacheIndex, "generationAt">;

/** A key's own entry. */
export interface MainContents extends Contents {
  readonly digest: string;
  /** The fields of requests on which its response depends, and those of its variants. */
  readonly fields: readonly string[];
}

/** What is put into memory: a response's head with its body, or with its file. */
export interface ToHold extends Contents {
  readonly head: StoredHead;
  readonly digest: string;
  readonly body: string | SharedFile;
}

/** A response in memory, and the cache as the requests see it that are answered with it: all alike. */
export class HeldResponse implements RequestCache {
  readonly stored: StoredHead;
  readonly digest: string;
  /** A byte string, or the open file. */
  readonly body: string | SharedFile;
  readonly place: number;
  readonly generation: number;
  /** Memory that it takes, estimated. */
  readonly bytes: number;
  /** When its use was last noted in the index, ms of the monotonic clock. */
  notedAt: number;
  readonly heads = new HeldHead();

  // The tier's: whose it is, and where it stands in the order of use.
  readonly owner: HeldKey;
  readonly variant: string;
  list: UseList | undefined = undefined;
  newer: HeldResponse | undefined = undefined;
  older: HeldResponse | undefined = undefined;

  constructor({ head, digest, body, place, generation }: ToHold, owner: HeldKey, variant: string, time: number) {
    this.stored = head;
    this.digest = digest;
    this.body = body;
    this.place = place;
    this.generation = generation;
    this.owner = owner;
    this.variant = variant;
    this.notedAt = time;
    const text = typeof body === "string" ? body.length : 0;
    this.bytes = OVERHEAD + 2 * head.headBytes + text + 2 * (variant.length + owner.key.length);
  }

  get status(): CacheStatus {
    return "HIT";
  }

  get cached(): boolean {
    return true;
  }

  get cacheable(): boolean {
    return false;
  }

  get convertsHead(): boolean {
    return false;
  }

  get head(): AnswerHead {
    return this.stored.answer;
  }

  get age(): number {
    return ageOf(this.stored, seconds());
  }

  /** Where a location wants the field, its requests have an object of their own. */
  statusField(): undefined {
    return undefined;
  }

  get lastModified(): undefined {
    return undefined;
  }

  get etag(): undefined {
    return undefined;
  }

  takeHead(): void {}

  replaces(): boolean {
    return false;
  }

  confirmed(): boolean {
    return false;
  }

  serve(): void {}

  intercepted(): void {}

  keep(): undefined {
    return undefined;
  }

  end(): void {}
}

/** A key of which a response is held, or several that depend on fields of the request. */
interface HeldKey {
  readonly key: string;
  readonly main: MainContents;
  /** By the text of those fields; "" where there are none. */
  readonly responses: Map<string, HeldResponse>;
  /** The response of a key without variants. */
  only: HeldResponse | undefined;
}

/** What a response takes beside its texts: its objects, those of its head, and its places in tables (measured). */
const OVERHEAD = 2048;
/** Longer responses are sent from their files. */
const LONGEST = 16 * 1024;
/** The longest text of fields by which a variant is found. */
const LONGEST_VARIANT = 1024;
/** So many files are held open at most. */
const MOST_FILES = 64;
/** A file that nobody has asked for is closed after this time, ms: at the latest then a removed one leaves the disk. */
const IDLE_MS = 5000;

/**
 * The responses that one worker has in memory, by key: small ones whole, larger ones as their head and the open file. One is
 * valid as long as the index has the same generation of its entry. Those longest out of use give way; first those that were
 * not used again since they came, so that a flood of keys asked for once displaces nothing but itself.
 */
export class MemoryTier {
  readonly #most: number;
  readonly #index: Generations;
  readonly #keys = new Map<string, HeldKey>();
  readonly #unused = new UseList();
  readonly #used = new UseList();
  readonly #files = new UseList();
  #closing = false;

  /** `most`: bytes in all. */
  constructor(most: number, index: Generations) {
    this.#most = most;
    this.#index = index;
  }

  /** What it holds, in all. */
  get bytes(): number {
    return this.#unused.bytes + this.#used.bytes + this.#files.bytes;
  }

  /** The longest body that is held as text. */
  get longest(): number {
    return Math.min(LONGEST, this.#most >> 4);
  }

  /** The response to a request for the key with those fields, if it is what the index has. */
  get(key: string, headers: HeaderList): HeldResponse | undefined {
    const known = this.#keys.get(key);
    if (known === undefined) return undefined;
    const { main } = known;
    if (this.#index.generationAt(main.place) !== main.generation) {
      this.#dropKey(known);
      return undefined;
    }
    const held = main.fields.length === 0 ? known.only : known.responses.get(fieldsText(main.fields, headers));
    if (held === undefined) return undefined;
    if (held.place !== main.place && this.#index.generationAt(held.place) !== held.generation) {
      this.#drop(held);
      return undefined;
    }
    const { list } = held;
    if (list === this.#unused) {
      list.remove(held);
      this.#used.add(held);
    } else if (list !== undefined && list.newest !== held) {
      list.remove(held);
      list.add(held);
    }
    return held;
  }

  /** Holds a response for requests with those fields. */
  put(key: string, main: MainContents, headers: HeaderList, response: ToHold, time: number): void {
    const variant = main.fields.length === 0 ? "" : fieldsText(main.fields, headers);
    if (variant.length > LONGEST_VARIANT) return;
    let owner = this.#keys.get(key);
    if (owner !== undefined && owner.main.generation !== main.generation) {
      this.#dropKey(owner);
      owner = undefined;
    }
    const former = owner?.responses.get(variant);
    if (former !== undefined) this.#drop(former);
    // Its last response may have gone with that, and then the key as well.
    owner = this.#keys.get(key) ?? { key, main, responses: new Map(), only: undefined };
    const held = new HeldResponse(response, owner, variant, time);
    this.#keys.set(key, owner);
    owner.responses.set(variant, held);
    if (main.fields.length === 0) owner.only = held;
    if (typeof held.body === "string") {
      this.#unused.add(held);
    } else {
      held.body.use();
      this.#files.add(held);
      this.#closeLater();
    }
    this.#keepBounds();
  }

  #keepBounds(): void {
    const [unused, used, files] = [this.#unused, this.#used, this.#files];
    while (files.count > MOST_FILES && files.oldest !== undefined) this.#drop(files.oldest);
    while (unused.bytes + used.bytes + files.bytes > this.#most) {
      const first = used.oldest === undefined || unused.bytes > this.#most >> 2 ? unused.oldest : used.oldest;
      const oldest = first ?? unused.oldest ?? files.oldest;
      if (oldest === undefined) return;
      this.#drop(oldest);
    }
  }

  /** Closes the files that are not the index's any more, and those that were not asked for lately, from time to time. */
  #closeLater(): void {
    if (this.#closing) return;
    this.#closing = true;
    const close = (): void => {
      this.#closing = false;
      const limit = now() - IDLE_MS;
      let next: HeldResponse | undefined;
      for (let held = this.#files.oldest; held !== undefined; held = next) {
        next = held.newer;
        const isCurrent = this.#index.generationAt(held.place) === held.generation;
        if (!isCurrent || held.notedAt < limit) this.#drop(held);
      }
      if (this.#files.count > 0) this.#closeLater();
    };
    startTimer(IDLE_MS, close, { background: true });
  }

  /** It is not what it should be any more. */
  forget(held: HeldResponse): void {
    if (held.list !== undefined) this.#drop(held);
  }

  #dropKey(known: HeldKey): void {
    for (const held of known.responses.values()) this.#drop(held);
  }

  #drop(held: HeldResponse): void {
    const { owner, list, body } = held;
    list?.remove(held);
    owner.responses.delete(held.variant);
    owner.only = undefined;
    if (owner.responses.size === 0) this.#keys.delete(owner.key);
    if (typeof body !== "string") body.release();
  }
}

/** Responses in the order of their use. */
class UseList {
  bytes = 0;
  count = 0;
  newest: HeldResponse | undefined = undefined;
  oldest: HeldResponse | undefined = undefined;

  add(held: HeldResponse): void {
    const { newest } = this;
    held.list = this;
    held.older = newest;
    held.newer = undefined;
    if (newest === undefined) this.oldest = held;
    else newest.newer = held;
    this.newest = held;
    this.bytes += held.bytes;
    this.count++;
  }

  remove(held: HeldResponse): void {
    const { newer, older } = held;
    if (newer === undefined) this.newest = older;
    else newer.older = older;
    if (older === undefined) this.oldest = newer;
    else older.newer = newer;
    held.list = undefined;
    this.bytes -= held.bytes;
    this.count--;
  }
}
