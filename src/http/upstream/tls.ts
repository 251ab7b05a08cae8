import { parseIpv4 } from "../../net/ip.ts";
import { TlsContext } from "../../net/tls/context.ts";
import { certificatesOf } from "../../runtime/certificates.ts";
import type { Place } from "../conf/module.ts";
import type { Request } from "../core/request.ts";
import type { Template } from "../core/script.ts";
import type { SslSettings, WithSsl } from "./ssl_directives.ts";

/** A location's settings for TLS to servers (ngx_http_upstream_conf_t, ssl_…). */
export interface UpstreamTls {
  readonly context: TlsContext;
  /** …_ssl_name; undefined for the host of the URL. */
  readonly name: Template | undefined;
  /** …_ssl_server_name */
  readonly sendsName: boolean;
}

/** What TLS to a server is for one request. A connection is used again only for a request with the same `identity`. */
export interface TlsChoice {
  readonly settings: UpstreamTls;
  readonly name: string;
  readonly identity: string;
}

/** A record of TLS has at most so many bytes (NGX_SSL_BUFSIZE). */
const RECORD_BYTES = 16_384;

/** Makes these settings from what `upstreamSslDirectives(prefix)` read for a location. */
export function upstreamTls<P extends string>(raw: WithSsl<P>, prefix: P, { http }: Place): UpstreamTls {
  const values: Readonly<Record<string, unknown>> = raw;
  // The compiler cannot follow names that are made at run time.
  const get = <K extends keyof SslSettings>(name: K) => values[`${prefix}_${name}`] as SslSettings[K];
  return {
    context: new TlsContext({
      side: "client",
      protocols: get("ssl_protocols"),
      ciphers: get("ssl_ciphers"),
      certificates: { pairs: [], source: certificatesOf(http.cycle), passwords: undefined },
      recordSize: RECORD_BYTES,
    }),
    name: get("ssl_name"),
    sendsName: get("ssl_server_name"),
  };
}

/** `group`: the name of the upstream, which is that of the block or the address in the URL. */
export function chooseTls(request: Request, settings: UpstreamTls, group: string): TlsChoice {
  return tlsChoice(settings, withoutPort(settings.name?.render(request) ?? hostOf(group)));
}

/** The same where it does not depend on the request; else undefined. */
export function constantTls(settings: UpstreamTls, group: string): TlsChoice | undefined {
  const { name } = settings;
  if (name === undefined) return tlsChoice(settings, withoutPort(hostOf(group)));
  return name.constant === undefined ? undefined : tlsChoice(settings, withoutPort(name.constant));
}

function tlsChoice(settings: UpstreamTls, name: string): TlsChoice {
  return { settings, name, identity: `tls ${settings.sendsName} ${name}` };
}

/** The name for SNI, "" for none: RFC 6066 has no addresses there. */
export function serverNameOf({ settings, name }: TlsChoice): string {
  return settings.sendsName && !name.startsWith("[") && parseIpv4(name) === undefined ? name : "";
}

/** The host of the URL, maybe with a port; the path of a unix socket. */
function hostOf(group: string): string {
  return /^unix:/i.test(group) ? group.slice("unix:".length) : group;
}

/** As nginx does it, with an IPv6 address in brackets. */
function withoutPort(name: string): string {
  const colon = name.indexOf(":", name.startsWith("[") ? Math.max(0, name.indexOf("]")) : 0);
  return colon < 0 ? name : name.slice(0, colon);
}
