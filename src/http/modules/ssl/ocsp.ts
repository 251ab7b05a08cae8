import { directive, enumeration, text } from "../../../config/directives.ts";
import { fail, placeIn, type Scope, type SettingsOf, valueIn } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { parseSize } from "../../../config/values.ts";
import { hostAddresses } from "../../../net/parse_url.ts";
import type { ClientOcsp } from "../../../net/tls/ocsp/client_status.ts";
import { parseResponder, type ResponderNames } from "../../../net/tls/ocsp/responder.ts";
import { OCSP_CACHE, StatusCache } from "../../../net/tls/ocsp/status_cache.ts";
import type { HostWanted } from "../../../runtime/application.ts";
import type { Cycle } from "../../../runtime/cycle.ts";
import { type DeclaredZone, declareZone, LEAST_ZONE } from "../../../shm/registry.ts";
import { HTTP_SERVER } from "../../conf/contexts.ts";
import type { Place } from "../../conf/module.ts";
import { resolvingOf } from "../../conf/resolver.ts";
import type { clientDirectives } from "./clients.ts";

/** OCSP of clients' certificates: whether one that was verified has been revoked since. */

export const ocspDirectives = {
  ssl_ocsp: enumeration({
    in: HTTP_SERVER,
    values: ["off", "on", "leaf"],
    default: "off",
    doc: "Asks OCSP responders whether clients' certificates are still good: those of the whole chain, or with `leaf` the client's own. Requests wait for it; one whose certificate is not good is answered with status 400, and $ssl_client_verify says why. ssl_verify_client must be on or optional, and a `resolver` given where certificates name their responders by name.",
  }),
  ssl_ocsp_responder: text({
    in: HTTP_SERVER,
    default: "",
    syntax: "url",
    doc: "The responder to ask, in place of the one that each certificate names.",
  }),
  ssl_ocsp_cache: directive<DeclaredZone | undefined>({
    in: HTTP_SERVER,
    args: [1, 1],
    syntax: "off|[shared:name:size]",
    defaultText: "off",
    doc: "A zone that keeps the answers of responders for as long as they say, or an hour, for all workers. Servers may share it.",
    initial: () => undefined,
    read: readCache,
  }),
};

function readCache(at: Directive, scope: Scope): DeclaredZone | undefined {
  const [word] = at.args;
  if (word === "off") return undefined;
  const invalid = (): never => fail(at, `invalid OCSP cache "${word}"`);
  const [, name, bytes] = /^shared:([^:]+):(.*)$/s.exec(word) ?? invalid();
  const size = parseSize(bytes) ?? invalid();
  if (size < LEAST_ZONE) fail(at, `OCSP cache "${word}" is too small`);
  return declareZone(at, scope, OCSP_CACHE, name, size);
}

type OcspSettings = SettingsOf<typeof ocspDirectives> & Pick<SettingsOf<typeof clientDirectives>, "ssl_verify_client">;

/** ngx_ssl_ocsp: of a server. Throws ConfigError. */
export function clientOcsp(
  settings: OcspSettings,
  { http: { cycle }, scope, location }: Place,
): ClientOcsp | undefined {
  const { ssl_ocsp: asks, ssl_ocsp_responder: url, ssl_ocsp_cache: cache } = settings;
  if (asks === "off") return undefined;
  if (settings.ssl_verify_client === "optional_no_ca") {
    fail(placeIn(scope, ocspDirectives.ssl_ocsp), '"ssl_ocsp" is incompatible with "ssl_verify_client optional_no_ca"');
  }
  const responder = url === "" ? undefined : parseResponder(url);
  if (typeof responder === "string") {
    fail(placeIn(scope, ocspDirectives.ssl_ocsp_responder), `${responder} in "ssl_ocsp_responder"`);
  }
  const known = async (host: string) => hostAddresses(host, cycle.data.hosts);
  let names: ResponderNames | undefined;
  return {
    asks: asks === "leaf" ? "leaf" : "all",
    responder,
    cache: cache && openCache(cache, cycle),
    names() {
      // A name in a client's certificate is not for the system to resolve.
      names ??= { ...resolvingOf(location), system: responder === undefined ? undefined : known };
      return names;
    },
  };
}

const opened = new WeakMap<DeclaredZone, StatusCache>();

function openCache(declared: DeclaredZone, cycle: Cycle): StatusCache {
  let cache = opened.get(declared);
  if (cache === undefined) {
    const { kind, name, size } = declared;
    cache = new StatusCache(cycle.zone({ kind, name, size }));
    opened.set(declared, cache);
  }
  return cache;
}

/** The names of responders in the configuration, looked up when it is loaded. */
export function responderHosts(http: Scope): HostWanted[] {
  const wanted: HostWanted[] = [];
  for (const scope of http.children) {
    if (scope.context !== "server" || valueIn(scope, ocspDirectives.ssl_ocsp) === "off") continue;
    const url = valueIn(scope, ocspDirectives.ssl_ocsp_responder);
    const responder = parseResponder(url);
    if (typeof responder === "string" || "family" in responder.target) continue;
    const { file, line } = placeIn(scope, ocspDirectives.ssl_ocsp_responder);
    const error = `host not found in OCSP responder "${url.slice("http://".length)}" in "ssl_ocsp_responder"`;
    wanted.push({ host: responder.target.host, file, line, error });
  }
  return wanted;
}
