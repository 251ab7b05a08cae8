import { crypto } from "../../sys/builtin.ts";
import { fillRandom } from "../../sys/random.ts";

/**
 * A session's id: 128 random bits. A client has it in a cookie together with a signature of ours, so that nobody can make a session
 * known whose id he chose himself; backends have the id alone.
 */

const ID_BYTES = 16;
const SIGNATURE_BYTES = 16;
/** Characters of either in Base64 for URLs. */
const CHARACTERS = 22;
const COOKIE = /^[\w-]{22}\.[\w-]{22}$/;

/** Ids are made many at a time. */
const pool = Buffer.alloc(ID_BYTES * 64);
let next = pool.length;

export function newId(): Buffer {
  if (next === pool.length) {
    fillRandom(pool);
    next = 0;
  }
  const id = Buffer.from(pool.subarray(next, next + ID_BYTES));
  pool.fill(0, next, next + ID_BYTES);
  next += ID_BYTES;
  return id;
}

export function idText(id: Buffer): string {
  return id.toString("base64url");
}

/** In a group's zone items of memcached's have longer ids. */
export function isSessionId(id: Buffer): boolean {
  return id.length === ID_BYTES;
}

/** What `idText` wrote. */
export function parseId(text: string): Buffer | undefined {
  if (text.length !== CHARACTERS) return undefined;
  const id = Buffer.from(text, "base64url");
  // The last character's lowest bits count for nothing: only one text is an id's.
  return id.length === ID_BYTES && idText(id) === text ? id : undefined;
}

/** How many cookies a worker remembers to be right. */
const MOST_KNOWN = 8192;

/** Signs and recognises a zone's cookies. Keys are secrets: the first signs, all are recognised. */
export class Signer {
  readonly #zone: string;
  readonly #keys: readonly Buffer[];
  /** Cookies that were right, and their ids: most requests come with one that came before. */
  readonly #known = new Map<string, Buffer>();

  constructor(zone: string, keys: readonly Buffer[]) {
    this.#zone = zone;
    this.#keys = keys;
  }

  cookie(id: Buffer): string {
    return `${idText(id)}.${this.#sign(id, this.#keys[0]).toString("base64url")}`;
  }

  /** The id in a cookie's value; undefined where it is none of ours. */
  idOf(cookie: string): Buffer | undefined {
    const known = this.#known.get(cookie);
    if (known !== undefined) return known;
    if (!COOKIE.test(cookie)) return undefined;
    const id = parseId(cookie.slice(0, CHARACTERS));
    const signature = Buffer.from(cookie.slice(CHARACTERS + 1), "base64url");
    if (id === undefined || !this.#keys.some((key) => crypto().timingSafeEqual(this.#sign(id, key), signature))) {
      return undefined;
    }
    if (this.#known.size >= MOST_KNOWN) this.#known.clear();
    this.#known.set(cookie, id);
    return id;
  }

  #sign(id: Buffer, key: Buffer): Buffer {
    const hmac = crypto().createHmac("sha256", key).update(`holdfast session ${this.#zone}\0`).update(id).digest();
    return hmac.subarray(0, SIGNATURE_BYTES);
  }
}
