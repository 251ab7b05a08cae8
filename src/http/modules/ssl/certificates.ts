import { list } from "../../../config/directives.ts";
import { type DirectiveSpec, fail, type SettingsOf } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import type { CertificateError, CertificatePairs } from "../../../net/tls/certificates.ts";
import { certificateName, certificatesOf, keyName, readPasswordFile } from "../../../runtime/certificates.ts";
import type { Cycle } from "../../../runtime/cycle.ts";
import { HTTP_SERVER } from "../../conf/contexts.ts";

/** The certificates that servers show, and their keys. */

const passwordFile: DirectiveSpec<Directive | undefined> = {
  in: HTTP_SERVER,
  args: [1, 1],
  syntax: "file",
  doc: "Passwords of private keys, one a line, tried one after the other.",
  initial: () => undefined,
  read: (at) => at,
};

export const certificateDirectives = {
  ssl_certificate: list<Directive>({
    in: HTTP_SERVER,
    args: [1, 1],
    syntax: "file",
    doc: "A file with the server's certificate and its chain, in PEM, or `data:` and the certificate itself. Repeated for other kinds of keys (RSA, ECDSA, Ed25519).",
    item: (at) => at,
  }),
  ssl_certificate_key: list<Directive>({
    in: HTTP_SERVER,
    args: [1, 1],
    syntax: "file",
    doc: "The private key of the certificate, in PEM: a file, `data:` and the key itself, `store:` and a URI that OpenSSL can load, or `engine:`, an engine's name and the key's. Repeated as often as ssl_certificate, in the same order. Only the master reads it.",
    item: (at) => at,
  }),
  ssl_password_file: passwordFile,
};

type CertificateSettings = SettingsOf<typeof certificateDirectives>;

/** The certificates of a server's context. Throws ConfigError. */
export function certificatePairs(settings: CertificateSettings, cycle: Cycle): CertificatePairs {
  const { ssl_certificate: certificates, ssl_certificate_key: keys, ssl_password_file: passwordFile } = settings;
  const passwords = passwordFile && readPasswordFile(cycle, passwordFile);
  const last = certificates.at(-1);
  if (last !== undefined && keys.length < certificates.length) {
    fail(last, `no "ssl_certificate_key" is defined for certificate "${last.args[0]}"`);
  }
  const pairs = certificates.map(({ args: [certificate] }, i) => {
    return { certificate: certificateName(cycle, certificate), key: keyName(cycle, keys[i].args[0]) };
  });
  return { pairs, source: certificatesOf(cycle), passwords };
}

/** The directive that an error is about. */
export function certificatePlace(settings: CertificateSettings, { of, index }: CertificateError): Directive {
  return (of === "key" ? settings.ssl_certificate_key : settings.ssl_certificate)[index];
}
