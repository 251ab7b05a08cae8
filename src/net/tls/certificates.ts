import { constants } from "node:os";
import { errnoCode, errorText } from "../../sys/errno.ts";
import {
  type LoadedKey,
  loadEngineKey,
  loadStoreKey,
  type Passwords,
  type PrivateKey,
  readPrivateKey,
} from "../../sys/openssl/keys.ts";
import { type Holder, useCertificate, usePrivateKey } from "../../sys/openssl/own_certificate.ts";
import {
  type Certificates,
  type RevocationLists,
  readCertificateChain,
  readRevocationLists,
  readTrustedCertificates,
} from "../../sys/openssl/x509.ts";

/**
 * Certificates and keys by the names that directives give them: the path of a file, `data:` with PEM behind it, and of keys
 * `engine:` and `store:`. What is returned belongs to whoever asked, who frees it; a string is what failed, in nginx's words.
 */
export interface CertificateSource {
  /** `fresh`: not what is kept in memory. */
  certificate(name: string, fresh: boolean): Certificates | string;
  key(name: string, passwords: Passwords, fresh: boolean): PrivateKey | string;
}

/** Reads a file; throws what node:fs throws. */
export type ReadFile = (path: string) => Uint8Array;

/** Nothing is kept in memory. */
export function uncached(read: ReadFile): CertificateSource {
  return {
    certificate: (name) => loadCertificate(name, read),
    key(name, passwords) {
      const loaded = loadKey(name, passwords, read);
      return typeof loaded === "string" ? loaded : loaded.key;
    },
  };
}

const DATA = "data:";
const ENGINE = "engine:";
const STORE = "store:";

/** Whether the certificate or key is in the name itself. */
export function isInName(name: string): boolean {
  return name.startsWith(DATA);
}

/** Whether the key of that name is in an engine or a store. */
export function isElsewhere(name: string): boolean {
  return name.startsWith(ENGINE) || name.startsWith(STORE);
}

export function loadCertificate(name: string, read: ReadFile): Certificates | string {
  return parsed(name, isInName(name), read, readCertificateChain);
}

export function loadKey(name: string, passwords: Passwords, read: ReadFile): LoadedKey | string {
  if (name.startsWith(ENGINE)) return loadEngineKey(name.slice(ENGINE.length));
  if (name.startsWith(STORE)) return loadStoreKey(name.slice(STORE.length), passwords);
  return parsed(name, isInName(name), read, (pem) => readPrivateKey(pem, passwords));
}

export function loadTrustedCertificates(path: string, read: ReadFile): Certificates | string {
  return parsed(path, false, read, readTrustedCertificates);
}

export function loadRevocationLists(path: string, read: ReadFile): RevocationLists | string {
  return parsed(path, false, read, readRevocationLists);
}

function parsed<T>(name: string, inName: boolean, read: ReadFile, parse: (pem: Uint8Array) => T | string): T | string {
  if (inName) return parse(Buffer.from(name.slice(DATA.length), "latin1"));
  try {
    return parse(read(name));
  } catch (error) {
    const code = errnoCode(error);
    if (code === undefined) throw error;
    // OpenSSL opens a directory, and reads nothing of it.
    return code === "EISDIR" ? parse(new Uint8Array(0)) : fileError(name, code);
  }
}

const ERRNO: Readonly<Record<string, number>> = constants.errno;
/** ERR_SYSTEM_FLAG: an errno among OpenSSL's errors. */
const SYSTEM_ERROR = 0x8000_0000;

function fileError(path: string, code: string): string {
  return `BIO_new_file() failed${fopenError(path, code)}`;
}

/** What OpenSSL's queue of errors has when a file cannot be opened, as nginx logs it. */
export function fopenError(path: string, code: string, mode = "r"): string {
  const number = (SYSTEM_ERROR + (ERRNO[code] ?? 0)).toString(16).toUpperCase();
  const sentence = errorText(code).replace(/^\d+: /, "");
  const bio =
    code === "ENOENT" || code === "ENXIO"
      ? "error:10000080:BIO routines::no such file"
      : "error:10080002:BIO routines::system lib";
  return ` (SSL: error:${number}:system library::${sentence}:calling fopen(${path}, ${mode}) ${bio})`;
}

/** Certificates and their keys by name, and what they are loaded with. */
export interface CertificatePairs {
  readonly pairs: readonly { readonly certificate: string; readonly key: string }[];
  readonly source: CertificateSource;
  readonly passwords: Passwords;
}

/** The message is to be logged. */
export class CertificateError extends Error {
  /** Of the pair that it is about. */
  readonly index: number;
  readonly of: "certificate" | "key";

  constructor(index: number, { of, sentence }: Failure) {
    super(sentence);
    this.index = index;
    this.of = of;
  }
}

/**
 * Sets certificates and their keys (ngx_ssl_certificate, ngx_ssl_connection_certificate); one takes the place of another of the
 * same kind. Throws CertificateError.
 */
export function setCertificates(holder: Holder, { pairs, source, passwords }: CertificatePairs): void {
  for (const [index, { certificate, key }] of pairs.entries()) {
    const first = trySetting(holder, source, certificate, key, passwords, false);
    // One of both may have been kept in memory for longer than the other.
    const failure = first?.mismatch ? trySetting(holder, source, certificate, key, passwords, true) : first;
    if (failure !== undefined) throw new CertificateError(index, failure);
  }
}

interface Failure {
  readonly of: "certificate" | "key";
  readonly sentence: string;
  readonly mismatch?: boolean;
}

function trySetting(
  holder: Holder,
  source: CertificateSource,
  certificate: string,
  key: string,
  passwords: Passwords,
  fresh: boolean,
): Failure | undefined {
  const chain = source.certificate(certificate, fresh);
  if (typeof chain === "string") {
    return { of: "certificate", sentence: `cannot load certificate "${shown(certificate)}": ${chain}` };
  }
  const unused = useCertificate(holder, chain, shown(certificate));
  chain.free();
  if (unused !== undefined) return { of: "certificate", sentence: unused };
  const privateKey = source.key(key, passwords, fresh);
  if (typeof privateKey === "string") {
    return { of: "key", sentence: `cannot load certificate key "${shown(key)}": ${privateKey}` };
  }
  const refused = usePrivateKey(holder, privateKey, shown(key));
  privateKey.free();
  return refused && { of: "key", sentence: refused.failed, mismatch: refused.mismatch };
}

/** A name as it may be logged: PEM may be a private key, or the value of a variable. */
function shown(name: string): string {
  return name.startsWith(DATA) ? `${DATA}...` : name;
}
