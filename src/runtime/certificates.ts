import { fail } from "../config/schema.ts";
import type { Directive } from "../config/types.ts";
import { isElsewhere, isInName } from "../net/tls/certificates.ts";
import { ConfiguredCertificates } from "../net/tls/configured_certificates.ts";
import { errnoCode, errnoText, errorCode } from "../sys/errno.ts";
import { withMemoryFile } from "../sys/memory_file.ts";
import type { ConfPaths } from "../sys/openssl/conf_commands.ts";
import { sha256 } from "../sys/openssl/sha256.ts";
import type { Cycle } from "./cycle.ts";

/** The certificates, keys and passwords of a configuration, which only the master may be allowed to read. */

const certificates = new WeakMap<Cycle, ConfiguredCertificates>();

export function certificatesOf(cycle: Cycle): ConfiguredCertificates {
  let known = certificates.get(cycle);
  if (known === undefined) {
    known = new ConfiguredCertificates((path) => cycle.readFile(path), cycle.data.files);
    certificates.set(cycle, known);
  }
  return known;
}

/** The name of a certificate as the configuration means it: a path is relative to the configuration file's directory. */
export function certificateName(cycle: Pick<Cycle, "path">, name: string): string {
  return isInName(name) ? name : cycle.path(name, "conf");
}

export function keyName(cycle: Pick<Cycle, "path">, name: string): string {
  return isInName(name) || isElsewhere(name) ? name : cycle.path(name, "conf");
}

/** Of the bytes of files, which are large where many authorities are trusted, and the same in all places. */
const digests = new WeakMap<Uint8Array, string>();

/** Another text for other contents of the file of that name; "" where it is no file, or cannot be read. */
export function contentsDigest(name: string, cycle: Cycle): string {
  if (isInName(name) || isElsewhere(name)) return "";
  try {
    const bytes = cycle.readFile(name);
    const digest = digests.get(bytes) ?? digestText(bytes);
    digests.set(bytes, digest);
    return digest;
  } catch {
    // Whoever needs it says that it cannot be read.
    return "";
  }
}

export function digestText(bytes: Uint8Array): string {
  return sha256(bytes).toString("base64url");
}

/** The files that commands of OpenSSL's configuration name, with what the master has read of them. */
export function confPathsOf(cycle: Cycle): ConfPaths {
  return {
    directory: (path) => cycle.path(path, "conf"),
    withFile(path, use) {
      const full = cycle.path(path, "conf");
      const bytes = tryToRead(cycle, full);
      // OpenSSL, which cannot read it either, says why.
      if (bytes === undefined) use(full, full);
      else withMemoryFile(bytes, (memory) => use(memory, full));
    },
  };
}

function tryToRead(cycle: Cycle, path: string): Uint8Array | undefined {
  try {
    return cycle.readFile(path);
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return undefined;
  }
}

/** The passwords in a file that a directive names (ngx_ssl_read_password_file). Throws ConfigError. */
export function readPasswordFile(cycle: Cycle, directive: Directive): readonly Uint8Array[] {
  const path = cycle.path(directive.args[0], "conf");
  const passwords = splitPasswords(readPasswords(cycle, path, directive));
  return passwords ?? fail(directive, `too long line in "${path}"`);
}

function readPasswords(cycle: Cycle, path: string, directive: Directive): Uint8Array {
  try {
    return cycle.readFile(path);
  } catch (error) {
    const code = errorCode(error);
    return fail(directive, `${code === "EISDIR" ? "read" : "open"}() "${path}" failed ${errnoText(code)}`);
  }
}

/** NGX_SSL_PASSWORD_BUFFER_SIZE */
const LONGEST_LINE = 512;
const LF = 0x0a;
const CR = 0x0d;
const EMPTY = new Uint8Array(0);

/** One a line; an empty one where there are none. Undefined if a line is too long. */
function splitPasswords(bytes: Uint8Array): readonly Uint8Array[] | undefined {
  const passwords: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(LF, at);
    const line = bytes.subarray(at, end < 0 ? undefined : end);
    if (line.length >= LONGEST_LINE) return undefined;
    const password = line.at(-1) === CR ? line.subarray(0, -1) : line;
    if (password.length > 0) passwords.push(password);
    at += line.length + 1;
  }
  return passwords.length > 0 ? passwords : [EMPTY];
}
