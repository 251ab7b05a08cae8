import { flag, text } from "../../../config/directives.ts";
import { warn } from "../../../config/errors.ts";
import { fail, placeIn, type SettingsOf } from "../../../config/schema.ts";
import { systemAddresses } from "../../../net/system_names.ts";
import { type CertificatePairs, fopenError } from "../../../net/tls/certificates.ts";
import type { TlsContext } from "../../../net/tls/context.ts";
import { parseResponder, type Responder, type ResponderNames } from "../../../net/tls/ocsp/responder.ts";
import { claimStaples, migrateStaples, STAPLE_ZONE, stapleZoneBytes } from "../../../net/tls/ocsp/staple_zone.ts";
import { type StapledCertificate, Stapler } from "../../../net/tls/ocsp/stapler.ts";
import { type StapleSource, Staples } from "../../../net/tls/ocsp/staples.ts";
import { openMainLog } from "../../../runtime/log/directive.ts";
import { errorCode } from "../../../sys/errno.ts";
import { ocspResponders } from "../../../sys/openssl/certificate.ts";
import {
  type ContextCertificate,
  certificateDigest,
  contextCertificates,
  findIssuer,
} from "../../../sys/openssl/certificate_chain.ts";
import { type SslContext, SslError } from "../../../sys/openssl/context.ts";
import { firstOcspResponse, type OcspQuestion } from "../../../sys/openssl/ocsp.ts";
import { askOnStatusRequest } from "../../../sys/openssl/stapling.ts";
import { HTTP_SERVER } from "../../conf/contexts.ts";
import { type HttpBuild, type Place, placeText } from "../../conf/module.ts";
import { resolvingOf } from "../../conf/resolver.ts";

/** OCSP stapling: the checker asks for the statuses of certificates, and workers send the responses along with these. */

export const staplingDirectives = {
  ssl_stapling: flag({
    in: HTTP_SERVER,
    default: false,
    doc: "Sends clients that ask for it an OCSP response along with the certificate, which says that it is not revoked. The checker asks the responder soon after the start, and again before the response expires; only responses that it has verified are sent. For this the issuer's certificate is needed, in the certificate's chain or among those that are trusted.",
  }),
  ssl_stapling_file: text({
    in: HTTP_SERVER,
    default: "",
    syntax: "file",
    doc: "A file with the OCSP response to send, in DER; no responder is asked then.",
  }),
  ssl_stapling_responder: text({
    in: HTTP_SERVER,
    default: "",
    syntax: "url",
    doc: "The responder to ask, in place of the one that the certificate names. Its name is resolved by `resolver`, or as the system does where there is none.",
  }),
  ssl_stapling_verify: flag({
    in: HTTP_SERVER,
    default: false,
    doc: "The responder's own certificate must be one that is trusted (ssl_trusted_certificate).",
  }),
};

type StaplingSettings = SettingsOf<typeof staplingDirectives> & { readonly ssl_certificate_compression: boolean };

/** ngx_ssl_stapling. Throws ConfigError. */
export function addStaples(
  context: TlsContext,
  { pairs, source }: CertificatePairs,
  settings: StaplingSettings,
  place: Place,
): void {
  if (!settings.ssl_stapling) return;
  if (settings.ssl_certificate_compression) {
    fail(
      placeIn(place.scope, staplingDirectives.ssl_stapling),
      '"ssl_stapling" is incompatible with "ssl_certificate_compression"',
    );
  }
  const names = new Map<bigint, string>();
  for (const { certificate: name } of pairs) {
    const chain = source.certificate(name, false);
    if (typeof chain === "string") continue;
    names.set(chain.pointer, name);
    chain.free();
  }
  const staples = new Staples();
  const response = settings.ssl_stapling_file === "" ? undefined : readResponse(settings, place);
  try {
    for (const one of contextCertificates(context.ssl)) {
      if (response !== undefined) staples.put(one.certificate, response);
      else wantStaple(context.ssl, staples, one, names.get(one.certificate) ?? "", settings, place);
    }
  } catch (error) {
    if (!(error instanceof SslError)) throw error;
    fail(placeIn(place.scope, staplingDirectives.ssl_stapling), error.message);
  }
  context.staples = staples;
  askOnStatusRequest(context.ssl);
}

/** ngx_ssl_stapling_file */
function readResponse({ ssl_stapling_file: file }: StaplingSettings, { http: { cycle }, scope }: Place): StapleSource {
  const path = cycle.path(file, "conf");
  const at = placeIn(scope, staplingDirectives.ssl_stapling_file);
  try {
    const response = firstOcspResponse(cycle.readFile(path), `d2i_OCSP_RESPONSE_bio("${path}") failed`);
    const staple = { response, validUntil: Number.POSITIVE_INFINITY, refreshAt: Number.POSITIVE_INFINITY };
    return { read: () => staple };
  } catch (error) {
    if (error instanceof SslError) return fail(at, error.message);
    return fail(at, `BIO_new_file("${path}") failed${fopenError(path, errorCode(error), "rb")}`);
  }
}

/** Has the checker ask for the status of a certificate, or says why it cannot. Throws SslError. */
function wantStaple(
  context: SslContext,
  staples: Staples,
  own: ContextCertificate,
  name: string,
  { ssl_stapling_responder, ssl_stapling_verify: verify }: StaplingSettings,
  place: Place,
): void {
  const { http, scope, location } = place;
  const { certificate, chain } = own;
  const ignored = (why: string): void => {
    const at = placeIn(scope, staplingDirectives.ssl_stapling);
    warn(at, scope, `"ssl_stapling" ignored, ${why}`);
  };
  const issuer = findIssuer(context, own);
  if (issuer === undefined) {
    ignored(`issuer certificate not found for certificate "${name}"`);
    return;
  }
  const url = ssl_stapling_responder === "" ? ocspResponders(certificate).at(0) : ssl_stapling_responder;
  if (url === undefined) {
    ignored(`no OCSP responder URL in the certificate "${name}"`);
    return;
  }
  const responder = parseResponder(url);
  if (typeof responder === "string") {
    ignored(`${responder} in the certificate "${name}"`);
    return;
  }
  // Who is to be trusted with the status is the server's affair, all else the certificate's.
  const trusted = verify ? placeText(place) : "";
  stapledIn(http).want(
    [certificateDigest(certificate), certificateDigest(issuer.pointer), url, trusted].join("\n"),
    {
      question: { certificate, issuer, chain, context, signer: verify ? "trusted" : "any" },
      responder,
      resolving: () => resolvingOf(location),
      name,
    },
    { staples, certificate },
  );
}

/** A response that is needed. */
interface Wanted {
  readonly question: OcspQuestion;
  readonly responder: Responder;
  readonly resolving: () => Pick<ResponderNames, "resolver" | "timeout">;
  /** The certificate's. */
  readonly name: string;
}

/** A server's certificate that a response is for. */
interface User {
  readonly staples: Staples;
  readonly certificate: bigint;
}

/** The responses that an http block needs, each once, by what makes it another response. */
class Stapled {
  readonly #wanted = new Map<string, { readonly wanted: Wanted; readonly users: User[] }>();

  want(key: string, wanted: Wanted, user: User): void {
    const known = this.#wanted.get(key);
    if (known === undefined) this.#wanted.set(key, { wanted, users: [user] });
    else known.users.push(user);
  }

  /** When all are known. */
  open({ cycle, checkers }: HttpBuild): void {
    const keys = [...this.#wanted.keys()];
    const size = stapleZoneBytes(keys.length);
    const zone = cycle.zone({ kind: STAPLE_ZONE, name: "", size, migrate: migrateStaples });
    const slots = claimStaples(zone, keys, cycle.data.generation);
    const log = openMainLog(cycle);
    const certificates = [...this.#wanted.values()].map(({ wanted, users }, i): StapledCertificate => {
      const slot = slots[i];
      for (const { staples, certificate } of users) staples.put(certificate, slot);
      const { question, responder, resolving, name } = wanted;
      return {
        question,
        responder,
        names: { ...resolving(), system: systemAddresses },
        slot,
        log: (level, sentence) => log.write(level, `${sentence}, certificate: "${name}"`),
      };
    });
    checkers.push({
      name: "ssl_stapling",
      check(previous) {
        previous?.stop();
        return new Stapler(certificates);
      },
    });
  }
}

const stapled = new WeakMap<HttpBuild, Stapled>();

function stapledIn(http: HttpBuild): Stapled {
  let known = stapled.get(http);
  if (known === undefined) {
    const made = new Stapled();
    http.later(() => made.open(http));
    stapled.set(http, made);
    known = made;
  }
  return known;
}
