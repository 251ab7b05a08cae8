import type { Zone, ZoneKind } from "../../shm/zone.ts";
import { sharedNow } from "../../sys/clock.ts";
import type { TicketKey } from "../../sys/openssl/ticket.ts";
import { fillRandom } from "../../sys/random.ts";

export interface TicketKeys {
  /** The keys that tickets may have, that of new tickets first, whose sessions last so many seconds. */
  current(timeout: number): readonly TicketKey[];
}

const NAME = 16;
const KEY_BYTES = 80;

/** The key in a file of `ssl_session_ticket_key`; undefined where it has neither 48 nor 80 bytes. */
export function parseTicketKey(bytes: Buffer): TicketKey | undefined {
  if (bytes.length !== 48 && bytes.length !== KEY_BYTES) return undefined;
  const name = Buffer.from(bytes.subarray(0, NAME));
  // Of 48 bytes the AES key comes first, of 80 the HMAC key.
  const half = NAME + (bytes.length - NAME) / 2;
  const first = Buffer.from(bytes.subarray(NAME, half));
  const second = Buffer.from(bytes.subarray(half));
  return bytes.length === KEY_BYTES ? { name, hmac: first, aes: second } : { name, hmac: second, aes: first };
}

/** The keys of files; the first one encrypts. */
export function ticketKeysOf(keys: readonly TicketKey[]): TicketKeys {
  return { current: () => keys };
}

/**
 * Keys that all workers share and that change by themselves (ngx_ssl_rotate_ticket_keys): that of new tickets, the one
 * before, and the one after, which nobody has used yet. nginx keeps them in the zone of the session cache; here they have a
 * zone beside it.
 *
 *     which bank is in force · for each bank: until when two keys are needed (s of the shared clock) · their three keys
 *
 * Keys are changed in the bank that is not in force, so a worker that dies meanwhile leaves the others whole.
 */
export const TICKET_KEYS: ZoneKind = { name: "ssl_ticket_keys", version: 1 };

const CURRENT = 0;
const PREVIOUS = 1;
const NEXT = 2;

/** The word that says which bank is in force, the first float, and the first byte of the keys. */
const BANK = 0;
const EXPIRES = 1;
const MATERIAL = 64;
const BANK_BYTES = 3 * KEY_BYTES;
export const TICKET_KEYS_BYTES = MATERIAL + 2 * BANK_BYTES;

export class SharedTicketKeys implements TicketKeys {
  readonly #zone: Zone;
  /** This process's copy of the current and the previous key, and until when they are needed. */
  #keys: readonly TicketKey[] = [];
  readonly #expires = [0, 0];

  constructor(zone: Zone) {
    this.#zone = zone;
  }

  /**
   * The zone is looked at where the copy lasts no longer. Meanwhile another worker cannot have gone on to the next key,
   * since the previous one is still needed.
   */
  current(timeout: number): readonly TicketKey[] {
    const now = Math.floor(sharedNow() / 1000);
    const expires = now + timeout;
    if (this.#expires[CURRENT] < expires || this.#expires[PREVIOUS] < now) this.#synchronize(now, expires);
    return this.#keys;
  }

  #synchronize(now: number, expires: number): void {
    const zone = this.#zone;
    // Where a worker died with the lock held, the bank in force is whole.
    zone.lock();
    try {
      const { floats } = zone;
      const before = expiresAt(this.#bank());
      if (floats[before + CURRENT] === 0 || floats[before + PREVIOUS] < now) this.#rotate(expires);
      const bank = this.#bank();
      const at = expiresAt(bank);
      if (floats[at + CURRENT] < expires) floats[at + CURRENT] = expires;
      this.#expires[CURRENT] = floats[at + CURRENT];
      this.#expires[PREVIOUS] = floats[at + PREVIOUS];
      if (!this.#isCopied(bank)) this.#keys = [this.#copy(bank, CURRENT), this.#copy(bank, PREVIOUS)];
    } finally {
      zone.unlock();
    }
  }

  #bank(): number {
    return this.#zone.words[BANK] & 1;
  }

  #isCopied(bank: number): boolean {
    return this.#keys.length > 0 && this.#keys[CURRENT].name.equals(this.#bytesOf(bank, CURRENT).subarray(0, NAME));
  }

  #copy(bank: number, key: number): TicketKey {
    const copied = parseTicketKey(this.#bytesOf(bank, key));
    if (copied === undefined) throw new Error("a ticket key has not the length of one");
    return copied;
  }

  #bytesOf(bank: number, key: number): Buffer {
    const from = MATERIAL + bank * BANK_BYTES + key * KEY_BYTES;
    return this.#zone.bytes.subarray(from, from + KEY_BYTES);
  }

  /**
   * Makes the current key the previous one, the next one the current one, and a new next one. The first time, one new key is
   * both the current and the previous one.
   */
  #rotate(expires: number): void {
    const { words, floats } = this.#zone;
    const from = this.#bank();
    const to = 1 - from;
    const unused = floats[expiresAt(from) + CURRENT] === 0;
    if (unused) fillRandom(this.#bytesOf(to, CURRENT));
    else this.#bytesOf(to, CURRENT).set(this.#bytesOf(from, NEXT));
    this.#bytesOf(to, PREVIOUS).set(this.#bytesOf(unused ? to : from, CURRENT));
    fillRandom(this.#bytesOf(to, NEXT));
    floats[expiresAt(to) + CURRENT] = expires;
    floats[expiresAt(to) + PREVIOUS] = unused ? expires : floats[expiresAt(from) + CURRENT];
    words[BANK] = to;
    for (const key of [CURRENT, PREVIOUS, NEXT]) this.#bytesOf(from, key).fill(0);
  }
}

function expiresAt(bank: number): number {
  return EXPIRES + bank * 2;
}
