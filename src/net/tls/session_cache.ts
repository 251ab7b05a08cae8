import { LruHash } from "../../shm/lru_hash.ts";
import type { Zone, ZoneKind } from "../../shm/zone.ts";
import { sharedNow } from "../../sys/clock.ts";

/**
 * TLS sessions in a zone that all workers share: `ssl_session_cache shared:NAME:SIZE` (ngx_ssl_new_session,
 * ngx_ssl_get_cached_session, ngx_ssl_remove_session). A session is found by its id and kept as DER. The order is that
 * in which sessions were stored, as in nginx: one that is used again gets no younger.
 */
export const SESSION_CACHE: ZoneKind = { name: "ssl_session_cache", version: 2 };

/** NGX_SSL_MAX_SESSION_SIZE */
export const MAX_SESSION = 8192;
/** SSL_MAX_SSL_SESSION_ID_LENGTH */
const MAX_SESSION_ID = 32;

/** Words of an entry's value before the DER. When it expires, in seconds of the shared clock; 0 before it is whole. */
const EXPIRES = 0;
const LENGTH = 1;
const VALUE = 2;

/**
 * How many sessions are dropped in favour of one. Before a larger one fits, small ones may have to go until a page is
 * empty. nginx drops one, and then gives up.
 */
const MOST_DROPPED = 64;

export class SessionCache {
  readonly name: string;
  readonly #entries: LruHash;
  readonly #log: (level: "alert" | "warn", text: string) => void;
  /** The second in which a lack of memory was logged last. */
  #failed = 0;

  constructor(zone: Zone, log: (level: "alert" | "warn", text: string) => void) {
    this.name = zone.name;
    this.#entries = new LruHash(zone);
    this.#log = log;
  }

  /** How many sessions there are, expired ones among them. */
  get size(): number {
    return this.#entries.size;
  }

  /** Keeps a session for so many seconds. One that is too big, or whose id is, is not kept. */
  store(id: string, session: Uint8Array, timeout: number): void {
    if (session.length > MAX_SESSION || id.length === 0 || id.length > MAX_SESSION_ID) return;
    this.#lock();
    let stored: boolean;
    try {
      stored = this.#store(id, session, timeout);
    } finally {
      this.#entries.unlock();
    }
    if (!stored) this.#logFailure();
  }

  #store(id: string, session: Uint8Array, timeout: number): boolean {
    const entries = this.#entries;
    const now = seconds();
    const known = entries.find(id);
    if (known !== undefined) this.#remove(known);
    this.#expire(now);
    const bytes = VALUE * 4 + session.length;
    let entry = entries.insert(id, bytes);
    for (let dropped = 0; entry === undefined && dropped < MOST_DROPPED; dropped++) {
      const { oldest } = entries;
      if (oldest === undefined) break;
      this.#remove(oldest);
      entry = entries.insert(id, bytes);
    }
    if (entry === undefined) return false;
    const { zone } = entries;
    const value = entries.value(entry);
    zone.bytes.set(session, (value + VALUE) * 4);
    zone.words[value + LENGTH] = session.length;
    // Last: a worker that dies before leaves what counts as expired.
    zone.words[value + EXPIRES] = now + timeout;
    return true;
  }

  /** Copies a session, and answers with its length; 0 where there is none, or where there is no room for it. */
  find(id: string, into: Uint8Array): number {
    this.#lock();
    try {
      const entries = this.#entries;
      const entry = entries.find(id);
      if (entry === undefined) return 0;
      const { bytes, words } = entries.zone;
      const value = entries.value(entry);
      const length = words[value + LENGTH];
      if (words[value + EXPIRES] <= seconds()) {
        this.#remove(entry);
        return 0;
      }
      if (length > into.length) return 0;
      bytes.copy(into, 0, (value + VALUE) * 4, (value + VALUE) * 4 + length);
      return length;
    } finally {
      this.#entries.unlock();
    }
  }

  /** Notes that a key, longer than any id, is used up for so many seconds. False where it was already, or cannot be noted. */
  useUp(key: string, timeout: number): boolean {
    this.#lock();
    try {
      const entries = this.#entries;
      const known = entries.find(key);
      if (known !== undefined && entries.zone.words[entries.value(known) + EXPIRES] > seconds()) return false;
      return this.#store(key, NOTHING, timeout);
    } finally {
      this.#entries.unlock();
    }
  }

  remove(id: string): void {
    this.#lock();
    try {
      const entry = this.#entries.find(id);
      if (entry !== undefined) this.#remove(entry);
    } finally {
      this.#entries.unlock();
    }
  }

  /** Removes one or two sessions whose time is over (ngx_ssl_expire_sessions). */
  #expire(now: number): void {
    const entries = this.#entries;
    for (let n = 0; n < 2; n++) {
      const { oldest } = entries;
      if (oldest === undefined || entries.zone.words[entries.value(oldest) + EXPIRES] > now) return;
      this.#remove(oldest);
    }
  }

  /** Its keys do not stay behind in memory. */
  #remove(entry: number): void {
    const entries = this.#entries;
    const value = entries.value(entry);
    entries.zone.words.fill(0, value, value + entries.valueBytes(entry) / 4);
    entries.remove(entry);
  }

  #lock(): void {
    const entries = this.#entries;
    if (!entries.lock()) return;
    this.#log("alert", `a worker died with zone "${this.name}" locked, ${entries.size} entries were put in order`);
  }

  #logFailure(): void {
    const now = seconds();
    if (this.#failed === now) return;
    this.#failed = now;
    this.#log("warn", `could not allocate new session in SSL session shared cache "${this.name}"`);
  }
}

const NOTHING = new Uint8Array();

function seconds(): number {
  return Math.floor(sharedNow() / 1000);
}
