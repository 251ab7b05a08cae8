import { type Link, Script } from "../../redis/link.ts";
import { idText } from "../zone/session_id.ts";
import { makeSession, readSession, type StoredSession } from "../zone/stored_session.ts";

/**
 * The sessions of a zone in Redis: the same bytes as in LMDB, each under the prefix and its id. What was deleted or renewed leaves
 * a mark for as long as a copy of it may live elsewhere. So where there is nothing, Redis has lost it, and whoever has a copy puts
 * it back.
 */

/**
 * Sets a session if it is the version still that it was (its bytes 3 to 8), and else answers what there is. It lies there as long as
 * any that it replaces would have, since a copy of that one may live elsewhere.
 */
const SWAP = new Script(`local now = redis.call('GET', KEYS[1])
if (now and string.sub(now, 3, 8) or '') ~= ARGV[1] then return now end
redis.call('SET', KEYS[1], ARGV[2], 'PX', math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[3])))
return 1`);
const VERSION = 2;
const VERSION_BYTES = 6;
const NOTHING = Buffer.alloc(0);
/** A session lies there for so much longer than it lives: clocks differ, ms. */
const GRACE_MS = 1000;

/** What came of a swap. */
export interface Swapped {
  readonly done: boolean;
  /** What there is, where it is not done. */
  readonly there: StoredSession | undefined;
}

const DONE: Swapped = { done: true, there: undefined };

export class Remote {
  readonly link: Link;
  readonly #prefix: string;
  readonly #timeout: number;

  /** `timeout`: how long sessions last, ms. */
  constructor(link: Link, prefix: string, timeout: number) {
    this.link = link;
    this.#prefix = prefix;
    this.#timeout = timeout;
  }

  async read(id: Buffer): Promise<StoredSession | undefined> {
    return sessionIn(await this.link.get(this.#prefix + idText(id)));
  }

  /** Puts a session in the place of `there`. */
  async swap(id: Buffer, there: StoredSession | undefined, session: StoredSession): Promise<Swapped> {
    const was = there?.bytes.subarray(VERSION, VERSION + VERSION_BYTES) ?? NOTHING;
    const now = Date.now();
    const lasts = isLiving(session, now) ? session.expires - now : this.#timeout;
    const key = this.#prefix + idText(id);
    const answer = await this.link.run(SWAP, key, [was, session.bytes, String(lasts + GRACE_MS)]);
    return answer === 1 ? DONE : { done: false, there: sessionIn(answer) };
  }
}

function sessionIn(answer: unknown): StoredSession | undefined {
  return answer instanceof Buffer ? readSession(answer) : undefined;
}

/** Whether it is a session, and neither a mark nor over. */
export function isLiving(session: StoredSession | undefined, now: number): session is StoredSession {
  return session !== undefined && session.expires > now && session.movedTo === undefined;
}

const NO_DATA = "{}";

/** Stands for a session that was deleted. */
export function deletedMark(version: number): StoredSession {
  return makeSession({ version, created: 0, expires: 0, data: NO_DATA, stamps: { floor: version, at: new Map() } });
}
