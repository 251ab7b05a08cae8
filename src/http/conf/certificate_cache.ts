import { readFileSync } from "node:fs";
import { directive } from "../../config/directives.ts";
import { type DirectiveSpec, fail } from "../../config/schema.ts";
import type { Context, Directive } from "../../config/types.ts";
import { parseNumber, parseSec } from "../../config/values.ts";
import { CertificateCache } from "../../net/tls/certificate_cache.ts";
import { type CertificateSource, uncached } from "../../net/tls/certificates.ts";
import { osPath } from "../../sys/paths.ts";

/** Certificates whose names have variables: loaded while TLS is agreed on, in the process that does it, a worker. */

function readNow(path: string): Uint8Array {
  return readFileSync(osPath(path));
}

/** `ssl_certificate_cache` and the like. */
export function certificateCache(contexts: readonly Context[]): DirectiveSpec<CertificateCache | undefined> {
  return directive<CertificateCache | undefined>({
    in: contexts,
    args: [1, 3],
    syntax: "off|max=number [inactive=time] [valid=time]",
    defaultText: "off",
    doc: "Keeps certificates and keys whose names have variables. `max`: how many; the one used longest ago makes room. `inactive` (10s): one that is not used for so long may be forgotten. `valid` (60s): after so long it is looked whether its file has changed. Encrypted keys are not kept.",
    initial: () => undefined,
    read: readCache,
  });
}

function readCache(at: Directive): CertificateCache | undefined {
  let off = false;
  let max: number | undefined;
  let inactive = 10_000;
  let valid = 60_000;
  for (const word of at.args) {
    const invalid = (): never => fail(at, `invalid parameter "${word}"`);
    const [, name, value] = /^(max|inactive|valid)=(.*)$/s.exec(word) ?? [];
    if (name === "max") max = parseNumber(value) || invalid();
    else if (name === "inactive") inactive = 1000 * (parseSec(value) ?? invalid());
    else if (name === "valid") valid = 1000 * (parseSec(value) ?? invalid());
    else if (word === "off") off = true;
    else invalid();
  }
  if (off) return undefined;
  if (max === undefined) fail(at, `"${at.name}" must have the "max" parameter`);
  return new CertificateCache({ max, inactive, valid }, readNow);
}

/** What loads them. */
export function certificateSource(cache: CertificateCache | undefined): CertificateSource {
  return cache ?? uncached(readNow);
}
