import { readFileSync } from "node:fs";
import { directive, list } from "../../../config/directives.ts";
import { fail, type Scope, type SettingsOf } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { parseNumber, parseSec } from "../../../config/values.ts";
import { CertificateCache } from "../../../net/tls/certificate_cache.ts";
import {
  type CertificateError,
  type CertificatePairs,
  setCertificates,
  uncached,
} from "../../../net/tls/certificates.ts";
import { certificateName, certificatesOf, keyName, readPasswordFile } from "../../../runtime/certificates.ts";
import type { Cycle } from "../../../runtime/cycle.ts";
import { osPath } from "../../../sys/paths.ts";
import { HTTP_SERVER } from "../../conf/contexts.ts";
import type { ServerTls } from "../../core/location.ts";
import { type Template, template } from "../../core/script.ts";

/** The certificates that servers show, and their keys. */

interface Name {
  readonly at: Directive;
  readonly text: Template;
}

function readName(at: Directive, scope: Scope): Name {
  return { at, text: template(scope, at, at.args[0]) };
}

/** While TLS is agreed on, in the process that does it: a worker. */
function readNow(path: string): Uint8Array {
  return readFileSync(osPath(path));
}

export const certificateDirectives = {
  ssl_certificate: list<Name>({
    in: HTTP_SERVER,
    args: [1, 1],
    syntax: "file",
    doc: "A file with the server's certificate and its chain, in PEM, or `data:` and the certificate itself. Repeated for other kinds of keys (RSA, ECDSA, Ed25519). With variables it is loaded for each handshake, by the worker.",
    item: readName,
  }),
  ssl_certificate_key: list<Name>({
    in: HTTP_SERVER,
    args: [1, 1],
    syntax: "file",
    doc: "The private key of the certificate, in PEM: a file, `data:` and the key itself, `store:` and a URI that OpenSSL can load, or `engine:`, an engine's name and the key's. Repeated as often as ssl_certificate, in the same order. Only the master reads it, unless it or the certificate has variables.",
    item: readName,
  }),
  ssl_certificate_cache: directive<CertificateCache | undefined>({
    in: HTTP_SERVER,
    args: [1, 3],
    syntax: "off|max=number [inactive=time] [valid=time]",
    defaultText: "off",
    doc: "Keeps certificates and keys whose names have variables. `max`: how many; the one used longest ago makes room. `inactive` (10s): one that is not used for so long may be forgotten. `valid` (60s): after so long it is looked whether its file has changed. Encrypted keys are not kept.",
    initial: () => undefined,
    read: readCache,
  }),
  ssl_password_file: directive<Directive | undefined>({
    in: HTTP_SERVER,
    args: [1, 1],
    syntax: "file",
    doc: "Passwords of private keys, one a line, tried one after the other. Only the master reads it.",
    initial: () => undefined,
    read: (at) => at,
  }),
};

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
  if (max === undefined) fail(at, `"ssl_certificate_cache" must have the "max" parameter`);
  return new CertificateCache({ max, inactive, valid }, readNow);
}

type CertificateSettings = SettingsOf<typeof certificateDirectives>;

export interface ServerCertificates {
  /** `asked`: by `certify`, for each connection. */
  readonly pairs: CertificatePairs | "asked";
  readonly certify: ServerTls["certify"];
  /** As the configuration names them, if they are asked for. */
  readonly names: readonly string[];
}

/** The certificates of a server (ngx_http_ssl_compile_certificates). Throws ConfigError. */
export function serverCertificates(settings: CertificateSettings, cycle: Cycle): ServerCertificates {
  const { ssl_certificate: certificates, ssl_certificate_key: keys, ssl_password_file: passwordFile } = settings;
  const passwords = passwordFile && readPasswordFile(cycle, passwordFile);
  const last = certificates.at(-1);
  if (last !== undefined && keys.length < certificates.length) {
    fail(last.at, `no "ssl_certificate_key" is defined for certificate "${last.text.text}"`);
  }
  const named = certificates.map(({ text: certificate }, i) => ({ certificate, key: keys[i].text }));
  if (named.every(({ certificate, key }) => certificate.constant !== undefined && key.constant !== undefined)) {
    const pairs = named.map(({ certificate, key }) => pairOf(cycle, certificate.text, key.text));
    return { pairs: { pairs, source: certificatesOf(cycle), passwords }, certify: undefined, names: [] };
  }
  const source = settings.ssl_certificate_cache ?? uncached(readNow);
  return {
    pairs: "asked",
    certify(request, { pointer }) {
      const pairs = named.map(({ certificate, key }) =>
        pairOf(cycle, certificate.render(request), key.render(request)),
      );
      // Nobody may be asked for a password here.
      setCertificates({ kind: "SSL", pointer }, { pairs, source, passwords: passwords ?? [] });
    },
    names: certificates.map(({ text }) => text.text),
  };
}

function pairOf(cycle: Cycle, certificate: string, key: string): CertificatePairs["pairs"][number] {
  return { certificate: certificateName(cycle, certificate), key: keyName(cycle, key) };
}

/** The directive that an error is about. */
export function certificatePlace(settings: CertificateSettings, { of, index }: CertificateError): Directive {
  return (of === "key" ? settings.ssl_certificate_key : settings.ssl_certificate)[index].at;
}
