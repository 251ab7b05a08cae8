import {
  type LoadedKey,
  type Passwords,
  type PrivateKey,
  privateKeyPem,
  readPrivateKey,
} from "../../sys/openssl/keys.ts";
import type { Owned } from "../../sys/openssl/owned.ts";
import type { Certificates, RevocationLists } from "../../sys/openssl/x509.ts";
import {
  type CertificateSource,
  isElsewhere,
  isInName,
  loadCertificate,
  loadKey,
  loadRevocationLists,
  loadTrustedCertificates,
  type ReadFile,
} from "./certificates.ts";

/**
 * ngx_ssl_cache_fetch(): the certificates, keys and lists of a configuration. Each is read once, however many servers have it,
 * and its objects are shared.
 */
export class ConfiguredCertificates implements CertificateSource {
  readonly #read: ReadFile;
  readonly #files: Map<string, Uint8Array>;
  readonly #certificates = new Map<string, Certificates>();
  readonly #keys = new Map<string, PrivateKey>();
  readonly #trusted = new Map<string, Certificates>();
  readonly #revocationLists = new Map<string, RevocationLists>();

  /**
   * `files`: what has been read of files, which the master sends to its children. It gets the keys that children could not load
   * themselves, by their names: those of a store, and those whose password was typed at the terminal.
   */
  constructor(read: ReadFile, files: Map<string, Uint8Array>) {
    this.#read = read;
    this.#files = files;
  }

  certificate(name: string): Certificates | string {
    return shared(this.#certificates, name, () => loadCertificate(name, this.#read));
  }

  trustedCertificates(path: string): Certificates | string {
    return shared(this.#trusted, path, () => loadTrustedCertificates(path, this.#read));
  }

  revocationLists(path: string): RevocationLists | string {
    return shared(this.#revocationLists, path, () => loadRevocationLists(path, this.#read));
  }

  key(name: string, passwords: Passwords): PrivateKey | string {
    const known = this.#keys.get(name);
    if (known !== undefined) return known.share();
    const loaded = this.#loadKey(name, passwords);
    if (typeof loaded === "string") return loaded;
    // Another server may not have the password.
    if (loaded.encrypted && passwords !== undefined) return loaded.key;
    this.#keys.set(name, loaded.key);
    return loaded.key.share();
  }

  #loadKey(name: string, passwords: Passwords): LoadedKey | string {
    const isFile = !isInName(name) && !isElsewhere(name);
    const sent = isFile ? undefined : this.#files.get(name);
    if (sent !== undefined) return readPrivateKey(sent, []);
    const loaded = loadKey(name, passwords, this.#read);
    if (typeof loaded === "string") return loaded;
    const asked = loaded.encrypted && passwords === undefined;
    const pem = asked || isElsewhere(name) ? privateKeyPem(loaded.key) : undefined;
    // Without it children ask the engine themselves.
    if (pem !== undefined) this.#files.set(name, pem);
    return loaded;
  }
}

function shared<K extends "X509" | "X509_CRL">(
  known: Map<string, Owned<K>>,
  name: string,
  load: () => Owned<K> | string,
): Owned<K> | string {
  let found = known.get(name);
  if (found === undefined) {
    const loaded = load();
    if (typeof loaded === "string") return loaded;
    known.set(name, loaded);
    found = loaded;
  }
  return found.share();
}
