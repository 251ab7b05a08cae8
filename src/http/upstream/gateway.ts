import { directive } from "../../config/directives.ts";
import { refusalsOf } from "../../config/errors.ts";
import type { DirectiveSpec, Scope } from "../../config/schema.ts";
import { ConfigError, type Context, type Directive } from "../../config/types.ts";
import { parseUrl } from "../../net/parse_url.ts";
import type { HostWanted } from "../../runtime/application.ts";
import { type Place, placeText } from "../conf/module.ts";
import type { UpstreamEntry, Upstreams } from "../conf/upstreams.ts";
import { finalizeRequest } from "../core/engine.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { type Template, template } from "../core/script.ts";
import type { Handler } from "../core/types.ts";
import { passHandler } from "./pass_handler.ts";
import { passedHosts, resolveHost } from "./resolve_host.ts";
import type { Passing, ResponseRules, UpstreamSettings } from "./settings.ts";
import { chooseTls, constantTls, shareSessions, type TlsChoice } from "./tls.ts";
import type { UpstreamTls } from "./tls_settings.ts";
import { passToUpstream } from "./upstream_request.ts";

/** What FastCGI, uwsgi, SCGI and memcached have in common: an address without a URI, to which a request is passed. */

const PASS: readonly Context[] = ["location", "if in location"];

/** The statuses that `…_next_upstream` of an application's protocol may name. */
export const GATEWAY_STATUSES: readonly string[] = ["http_500", "http_503", "http_403", "http_404", "http_429"];

/** Of `…_pass`: an address, maybe with variables. */
export interface GatewayPass {
  readonly address: Template;
  readonly at: Directive;
}

/** `…_pass`, without the prefix. */
export function gatewayPass(doc: string) {
  return directive<GatewayPass | undefined>({
    in: PASS,
    args: [1, 1],
    syntax: "address",
    doc,
    initial: () => undefined,
    inherit: false,
    read: (at, scope) => ({ address: template(scope, at, at.args[0]), at }),
  });
}

/** A scheme before the address. */
export interface GatewayScheme {
  /** As error logs show it: `uwsgi://`. */
  readonly scheme: string;
  readonly secure: boolean;
  /** The address behind it. */
  readonly address: string;
}

/** A protocol, as its module describes it. */
export interface Gateway {
  /** Splits an address as written. */
  readonly split: (address: string) => GatewayScheme;
  /** A body whose length is not known can be passed on as it comes. */
  readonly chunksAllowed: boolean;
}

/** Splits addresses that may have one of two schemes; without any, the first is meant. A scheme is shown as it is written. */
export function splitScheme(plain: string, secure: string): Gateway["split"] {
  return (address) => {
    const lower = address.toLowerCase();
    for (const scheme of [plain, secure]) {
      if (!lower.startsWith(scheme)) continue;
      return {
        scheme: address.slice(0, scheme.length),
        secure: scheme === secure,
        address: address.slice(scheme.length),
      };
    }
    return { scheme: plain, secure: false, address };
  };
}

/** A location's settings as requests use them. */
export interface GatewaySettings {
  readonly pass: GatewayPass | undefined;
  /** Undefined if …_pass has variables. */
  readonly fixed: FixedGateway | undefined;
  readonly upstream: UpstreamSettings;
  /** Undefined where the protocol is never spoken over TLS. */
  readonly tls: UpstreamTls | undefined;
  readonly upstreams: Upstreams;
  readonly gateway: Gateway;
}

interface FixedGateway extends GatewayScheme {
  readonly upstream: UpstreamEntry;
  /** What TLS to it is, if that is the same for all requests. */
  readonly tls: TlsChoice | undefined;
}

/** The hosts in `…_pass` directives, for a module's `hosts`. */
export function gatewayHosts(
  http: Scope,
  spec: DirectiveSpec<GatewayPass | undefined>,
  { split }: Gateway,
): HostWanted[] {
  return passedHosts(http, spec, (pass) => {
    if (pass.address.constant === undefined) return undefined;
    const { address } = split(pass.address.constant);
    return { host: address, defaultPort: NO_PORT, at: pass.at };
  });
}

/** An address has to name its port. */
const NO_PORT = 0;

/** What a module has read for a location. */
export interface GatewayRead {
  /** `…_pass` in the location itself. */
  readonly own: GatewayPass | undefined;
  /** Makes the settings of the passage, for the place that is named. */
  readonly upstream: (place: string) => UpstreamSettings;
  /** Where the protocol can be spoken over TLS; called where the address may ask for that. */
  readonly tls?: () => UpstreamTls;
}

/** Makes the settings of a location. `around`: those of the enclosing location, for `if` blocks. */
export function gatewaySettings(
  gateway: Gateway,
  { own, upstream, tls: tlsOf }: GatewayRead,
  place: Place,
  around: GatewaySettings | undefined,
): GatewaySettings {
  const { location, http } = place;
  const pass = own ?? around?.pass;
  const passage = upstream(pass === undefined ? "" : placeText(place));
  const tls =
    tlsOf !== undefined && pass !== undefined && mayBeSecure(gateway, pass)
      ? refusalsOf(place.scope).attempt(tlsOf, "complete")
      : undefined;
  const settings = { pass, fixed: undefined, upstream: passage, tls, upstreams: http.upstreams, gateway };
  if (pass === undefined) return settings;
  if (own !== undefined && location.name.endsWith("/") && location.kind === "prefix") location.autoRedirect = true;
  const { constant } = pass.address;
  if (constant === undefined) {
    // It may lead to any of them.
    if (tls !== undefined) {
      http.later(() => {
        for (const entry of http.upstreams.byName.values()) shareSessions(entry, http.cycle);
      });
    }
    return settings;
  }
  const scheme = gateway.split(constant);
  if (lacksPort(http.upstreams, scheme.address))
    throw new ConfigError(`no port in upstream "${scheme.address}"`, pass.at);
  const entry = http.upstreams.find(scheme.address, NO_PORT, pass.at);
  const secure = scheme.secure ? tls : undefined;
  if (secure !== undefined) shareSessions(entry, http.cycle);
  return { ...settings, fixed: { ...scheme, upstream: entry, tls: secure && constantTls(secure, entry) } };
}

function mayBeSecure({ split }: Gateway, { address: { constant } }: GatewayPass): boolean {
  return constant === undefined || split(constant).secure;
}

/** Whether it is no upstream's name, and an address that names no port. */
function lacksPort(upstreams: Upstreams, address: string): boolean {
  if (upstreams.named(address) !== undefined) return false;
  const target = parseUrl(address, NO_PORT);
  return typeof target !== "string" && "port" in target && target.port === NO_PORT;
}

/** What is the same for all protocols of what is sent to the server. */
export interface GatewayRequest {
  /** For the codec's `requestHead`. */
  readonly head: string;
  readonly headRequest: boolean;
}

const NO_RULES: ResponseRules = { location: undefined, refresh: undefined, cookie: undefined };

/** What comes before a server is chosen: it answers the request, or calls `passing.pass`. */
export type BeforePassing = (request: Request, passing: Passing) => void;

/** Makes the request to the server that was found by `pass`; undefined after an error, which it has logged. */
type MakeRequest = (request: Request, pass: GatewayScheme) => GatewayRequest | undefined;

/**
 * The content handler: finds the server, makes the request and passes it on.
 */
export function gatewayHandler(settings: GatewaySettings, make: MakeRequest, before?: BeforePassing): Handler {
  const { gateway, upstream, upstreams } = settings;
  const body = {
    sent: upstream.passRequestBody,
    buffered: upstream.requestBuffering,
    chunksAllowed: gateway.chunksAllowed,
  };
  const passing = (pass: Passing["pass"]): Passing => ({ settings: upstream, rules: NO_RULES, pass });
  const sending = (fixed: FixedGateway) => passing((request) => send(request, settings, fixed, make));
  const begin = before ?? passAtOnce;
  const fixed = settings.fixed && sending(settings.fixed);
  return passHandler(body, (request) => {
    if (fixed !== undefined) {
      begin(request, fixed);
      return;
    }
    const pass = evaluate(request, settings);
    if (pass === undefined) {
      finalizeRequest(request, 500);
      return;
    }
    const { scheme, entry } = pass;
    if ("group" in entry) {
      begin(request, sending({ ...scheme, upstream: entry, tls: undefined }));
      return;
    }
    const resolve = () =>
      resolveHost(request, upstream, upstreams, entry, (resolved) =>
        send(request, settings, { ...scheme, upstream: resolved, tls: undefined }, make),
      );
    begin(request, passing(resolve));
  });
}

function passAtOnce(request: Request, { pass }: Passing): void {
  pass(request);
}

/** Where an address with variables leads to; undefined after an error, which was logged. */
function evaluate(request: Request, { pass, upstreams, gateway }: GatewaySettings) {
  if (pass === undefined) return undefined;
  const scheme = gateway.split(pass.address.render(request));
  const { address } = scheme;
  if (lacksPort(upstreams, address)) {
    logError(request, "error", `no port in upstream "${address}"`);
    return undefined;
  }
  const entry = upstreams.dynamic(address, NO_PORT);
  if (typeof entry !== "string") return { scheme, entry };
  logError(request, "error", `${entry} in upstream "${address}"`);
  return undefined;
}

function send(
  request: Request,
  { upstream: settings, tls }: GatewaySettings,
  pass: FixedGateway,
  make: MakeRequest,
): void {
  const made = make(request, pass);
  if (made === undefined) {
    finalizeRequest(request, 500);
    return;
  }
  const { upstream } = pass;
  passToUpstream(request, {
    settings,
    rules: NO_RULES,
    upstream,
    tls: pass.secure && tls !== undefined ? (pass.tls ?? chooseTls(request, tls, upstream)) : undefined,
    client: request.remote,
    key: upstream.key === undefined ? "" : upstream.key.render(request),
    head: made.head,
    body: undefined,
    headRequest: made.headRequest,
    lengthKnown: !request.chunked || request.body !== undefined || request.discardBody || !settings.passRequestBody,
    scheme: pass.scheme,
    uri: "",
  });
}
