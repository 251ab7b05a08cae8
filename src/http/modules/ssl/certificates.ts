import { file, list } from "../../../config/directives.ts";
import { fail, type Scope, type SettingsOf } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { type CertificateError, type CertificatePairs, setCertificates } from "../../../net/tls/certificates.ts";
import { certificateName, certificatesOf, keyName, readPasswordFile } from "../../../runtime/certificates.ts";
import type { Cycle } from "../../../runtime/cycle.ts";
import { certificateCache, certificateSource } from "../../conf/certificate_cache.ts";
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
  ssl_certificate_cache: certificateCache(HTTP_SERVER),
  ssl_password_file: file({
    in: HTTP_SERVER,
    doc: "Passwords of private keys, one a line, tried one after the other. Only the master reads it.",
  }),
};

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
  const source = certificateSource(settings.ssl_certificate_cache);
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
