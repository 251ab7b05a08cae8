import { now } from "../../sys/clock.ts";
import { type FileVersion, fileVersion, isSameVersion } from "../../sys/file_version.ts";
import type { Passwords, PrivateKey } from "../../sys/openssl/keys.ts";
import type { Owned } from "../../sys/openssl/owned.ts";
import type { Certificates } from "../../sys/openssl/x509.ts";
import {
  type CertificateSource,
  isElsewhere,
  isInName,
  loadCertificate,
  loadKey,
  type ReadFile,
} from "./certificates.ts";

/** ssl_certificate_cache; times in ms. */
export interface CertificateCacheSettings {
  readonly max: number;
  /** What was not used for so long is forgotten. */
  readonly inactive: number;
  /** What was loaded so long ago is loaded again if its file is another by now. */
  readonly valid: number;
}

type Kind = "X509" | "EVP_PKEY";

interface Entry<K extends Kind> {
  readonly name: string;
  readonly value: Owned<K>;
  readonly file: FileVersion | undefined;
  created: number;
  accessed: number;
}

/** Where what a name stands for is; `elsewhere`: in an engine or a store. */
type Place = "file" | "name" | "elsewhere";

/** At most so many entries are looked at for being inactive, when another is added. */
const EXPIRE_AT_ONCE = 2;

/**
 * ngx_ssl_cache_connection_fetch(): certificates and keys whose names have variables, kept from handshake to handshake. Of a
 * key that is encrypted nothing is kept, and no failure either.
 */
export class CertificateCache implements CertificateSource {
  readonly #settings: CertificateCacheSettings;
  readonly #read: ReadFile;
  readonly #certificates = new Map<string, Entry<"X509">>();
  readonly #keys = new Map<string, Entry<"EVP_PKEY">>();
  /** Of both, the one used longest ago first. */
  readonly #byUse = new Set<Entry<Kind>>();

  constructor(settings: CertificateCacheSettings, read: ReadFile) {
    this.#settings = settings;
    this.#read = read;
  }

  certificate(name: string, fresh: boolean): Certificates | string {
    const place = isInName(name) ? "name" : "file";
    return this.#fetch(this.#certificates, name, place, fresh, () => {
      const value = loadCertificate(name, this.#read);
      return typeof value === "string" ? value : { value, keep: true };
    });
  }

  key(name: string, passwords: Passwords, fresh: boolean): PrivateKey | string {
    const place = isInName(name) ? "name" : isElsewhere(name) ? "elsewhere" : "file";
    return this.#fetch(this.#keys, name, place, fresh, () => {
      const loaded = loadKey(name, passwords, this.#read);
      return typeof loaded === "string" ? loaded : { value: loaded.key, keep: !loaded.encrypted };
    });
  }

  #fetch<K extends Kind>(
    entries: Map<string, Entry<K>>,
    name: string,
    place: Place,
    fresh: boolean,
    load: () => { readonly value: Owned<K>; readonly keep: boolean } | string,
  ): Owned<K> | string {
    const time = now();
    const known = entries.get(name);
    if (known !== undefined) {
      if (this.#isGood(known, place, fresh, time)) {
        known.accessed = time;
        this.#byUse.delete(known);
        this.#byUse.add(known);
        return known.value.share();
      }
      this.#remove(known);
    }
    // Before it is read: a file that changes meanwhile is read again.
    const file = place === "file" ? fileVersion(name) : undefined;
    const loaded = load();
    if (typeof loaded === "string") return loaded;
    if (!loaded.keep) return loaded.value;
    this.#expire(time);
    const entry = { name, value: loaded.value, file, created: time, accessed: time };
    entries.set(name, entry);
    this.#byUse.add(entry);
    return loaded.value.share();
  }

  #isGood(entry: Entry<Kind>, place: Place, fresh: boolean, time: number): boolean {
    if (place === "name") return true;
    if (fresh) return false;
    if (time - entry.created <= this.#settings.valid) return true;
    if (place === "elsewhere") return false;
    if (!isSameVersion(entry.file, fileVersion(entry.name))) return false;
    entry.created = time;
    return true;
  }

  /** Makes room for one more. */
  #expire(time: number): void {
    let looked = 0;
    for (const entry of this.#byUse) {
      if (looked++ === EXPIRE_AT_ONCE || time - entry.accessed <= this.#settings.inactive) break;
      this.#remove(entry);
    }
    for (const entry of this.#byUse) {
      if (this.#byUse.size < this.#settings.max) break;
      this.#remove(entry);
    }
  }

  #remove(entry: Entry<Kind>): void {
    this.#byUse.delete(entry);
    if (this.#certificates.get(entry.name) === entry) this.#certificates.delete(entry.name);
    if (this.#keys.get(entry.name) === entry) this.#keys.delete(entry.name);
    entry.value.free();
  }
}
