import { enumeration, number, text } from "../../../config/directives.ts";
import { fail, placeIn, type Scope, type SettingsOf } from "../../../config/schema.ts";
import type { TlsSettings } from "../../../net/tls/context.ts";
import { certificatesOf, contentsDigest, digestText } from "../../../runtime/certificates.ts";
import type { Cycle } from "../../../runtime/cycle.ts";
import { HTTP_SERVER } from "../../conf/contexts.ts";

/** Certificates of clients, and by what they are verified. */

export const clientDirectives = {
  ssl_verify_client: enumeration({
    in: HTTP_SERVER,
    values: ["off", "on", "optional", "optional_no_ca"],
    default: "off",
    doc: "Asks clients for a certificate. `on`: a request without one is answered with 496 (a 400 for the client), and one with a certificate that cannot be verified with 495. `optional`: there may be none. `optional_no_ca`: it need not be of an authority that is trusted, which is for whoever gets $ssl_client_cert to judge. $ssl_client_verify has the result.",
  }),
  ssl_verify_depth: number({
    in: HTTP_SERVER,
    default: 1,
    doc: "How many certificates of authorities there may be between a client's certificate and one that is trusted.",
  }),
  ssl_client_certificate: text({
    in: HTTP_SERVER,
    default: "",
    syntax: "file",
    doc: "A file with the authorities, in PEM, that clients' certificates are verified by. Clients are told their names.",
  }),
  ssl_trusted_certificate: text({
    in: HTTP_SERVER,
    default: "",
    syntax: "file",
    doc: "A file with more authorities, in PEM, whose names clients are not told.",
  }),
  ssl_crl: text({
    in: HTTP_SERVER,
    default: "",
    syntax: "file",
    doc: "A file with lists of revoked certificates, in PEM: one of each authority in a client's chain.",
  }),
};

/** Throws ConfigError. */
export function clientVerification(
  settings: SettingsOf<typeof clientDirectives>,
  scope: Scope,
  cycle: Cycle,
): Pick<TlsSettings, "verifyClients" | "verifyDepth" | "authorities" | "trusted" | "revoked"> {
  const { ssl_verify_client: verify, ssl_client_certificate: authorities, ssl_trusted_certificate: trusted } = settings;
  if (verify !== "off" && verify !== "optional_no_ca" && authorities === "" && trusted === "") {
    const at = placeIn(scope, clientDirectives.ssl_verify_client);
    fail(at, "no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client");
  }
  const source = certificatesOf(cycle);
  const file = (name: string) => (name === "" ? undefined : { path: cycle.path(name, "conf"), source });
  return {
    verifyClients: verify !== "off",
    verifyDepth: settings.ssl_verify_depth,
    authorities: verify === "off" ? undefined : file(authorities),
    trusted: file(trusted),
    revoked: file(settings.ssl_crl),
  };
}

/**
 * By what clients are verified: the same text in every server and cycle where what is good for one is for the other; "" where
 * they are not. `ocsp`: what ssl_ocsp says.
 */
export function verificationIdentity(
  settings: SettingsOf<typeof clientDirectives>,
  ocsp: readonly string[],
  cycle: Cycle,
): string {
  if (settings.ssl_verify_client === "off") return "";
  const { ssl_client_certificate: authorities, ssl_trusted_certificate: trusted, ssl_crl: revoked } = settings;
  const files = [authorities, trusted, revoked].map((name) =>
    name === "" ? "" : contentsDigest(cycle.path(name, "conf"), cycle),
  );
  return digestText(Buffer.from(JSON.stringify([settings.ssl_verify_depth, files, ocsp])));
}
