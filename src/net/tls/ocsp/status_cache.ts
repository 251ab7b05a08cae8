import { LruHash } from "../../../shm/lru_hash.ts";
import type { Zone, ZoneKind } from "../../../shm/zone.ts";
import type { CertificateStatus } from "../../../sys/openssl/ocsp.ts";

/** ssl_ocsp_cache: the statuses of certificates by their keys (`certificateKey`), for all workers. */
export const OCSP_CACHE: ZoneKind = { name: "ssl_ocsp_cache", version: 2 };

/** An entry's value: until when it holds, a float of seconds since 1970, and then the status. */
const STATUS = 2;
const VALUE_BYTES = 12;
/** Seconds for which a status holds that does not say so itself. */
const WITHOUT_END = 3600;

export class StatusCache {
  readonly name: string;
  readonly #entries: LruHash;

  constructor(zone: Zone) {
    this.name = zone.name;
    this.#entries = new LruHash(zone);
  }

  /** CERTSTATUS_… */
  find(key: string): number | undefined {
    const entries = this.#entries;
    entries.lock();
    try {
      const entry = entries.find(key);
      if (entry === undefined) return undefined;
      const value = entries.value(entry);
      if (entries.zone.floats[value >> 1] > seconds()) {
        entries.touch(entry);
        return entries.zone.words[value + STATUS];
      }
      entries.remove(entry);
      return undefined;
    } finally {
      entries.unlock();
    }
  }

  /** False where there is no memory for it. */
  store(key: string, { status, validUntil }: CertificateStatus): boolean {
    const time = seconds();
    if (validUntil < time) return true;
    const entries = this.#entries;
    entries.lock();
    try {
      const entry = entries.find(key) ?? entries.insert(key, VALUE_BYTES) ?? this.#insteadOfOldest(key);
      if (entry === undefined) return false;
      const value = entries.value(entry);
      entries.zone.floats[value >> 1] = 0;
      entries.zone.words[value + STATUS] = status;
      entries.zone.floats[value >> 1] = validUntil === Number.POSITIVE_INFINITY ? time + WITHOUT_END : validUntil;
      return true;
    } finally {
      entries.unlock();
    }
  }

  #insteadOfOldest(key: string): number | undefined {
    const { oldest } = this.#entries;
    if (oldest === undefined) return undefined;
    this.#entries.remove(oldest);
    return this.#entries.insert(key, VALUE_BYTES);
  }
}

function seconds(): number {
  return Math.floor(Date.now() / 1000);
}
