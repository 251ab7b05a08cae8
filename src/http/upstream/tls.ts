import type { CertificatePairs } from "../../net/tls/certificates.ts";
import { sentName, type TlsClientSettings } from "../../net/tls/client.ts";
import { type ClientSessions, OwnClientSessions, SharedClientSessions } from "../../net/tls/client_sessions.ts";
import { SessionCache } from "../../net/tls/session_cache.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import { openMainLog } from "../../runtime/log/directive.ts";
import type { ZoneKind } from "../../shm/zone.ts";
import { sha256 } from "../../sys/openssl/sha256.ts";
import type { UpstreamEntry } from "../conf/upstreams.ts";
import type { Request } from "../core/request.ts";
import { renderedPair, type UpstreamTls, type VariableCertificate } from "./tls_settings.ts";

/** What TLS to a server is for one request. A connection is used again only for a request with the same `identity`. */
export interface TlsChoice {
  readonly settings: UpstreamTls;
  /** The server's name; "" where it is neither sent nor verified. */
  readonly name: string;
  readonly certificates: CertificatePairs | undefined;
  /** Whose sessions are not another's. */
  readonly upstream: UpstreamEntry;
  readonly identity: string;
}

export function chooseTls(request: Request, settings: UpstreamTls, upstream: UpstreamEntry): TlsChoice {
  const { name, certificate } = settings;
  const pair = certificate === undefined ? undefined : certificateFor(request, certificate);
  return tlsChoice(settings, name?.render(request) ?? hostOf(upstream), pair, upstream);
}

/** The same where it does not depend on the request; else undefined. */
export function constantTls(settings: UpstreamTls, upstream: UpstreamEntry): TlsChoice | undefined {
  const { name, certificate } = settings;
  if (certificate !== undefined || (name !== undefined && name.constant === undefined)) return undefined;
  return tlsChoice(settings, name?.constant ?? hostOf(upstream), undefined, upstream);
}

/** ngx_http_upstream_ssl_certificate: an empty name is no certificate. */
function certificateFor(request: Request, variable: VariableCertificate): CertificatePairs | undefined {
  const name = variable.certificate.render(request);
  if (name === "") return undefined;
  const { source, passwords } = variable;
  return { pairs: [renderedPair(variable, name, variable.key.render(request))], source, passwords };
}

function tlsChoice(
  settings: UpstreamTls,
  named: string,
  certificates: CertificatePairs | undefined,
  upstream: UpstreamEntry,
): TlsChoice {
  const { sendsName, verifies } = settings;
  const name = sendsName || verifies ? withoutPort(named) : "";
  let shown = "";
  if (certificates !== undefined) {
    // The names may be the certificate and key themselves.
    const [{ certificate, key }] = certificates.pairs;
    shown = sha256(Buffer.from(`${certificate}\0${key}`, "latin1")).toString("base64url");
  }
  // The name comes last: it may be a client's, and have anything in it.
  return { settings, name, certificates, upstream, identity: `${settings.identity} ${sendsName} ${shown} ${name}` };
}

/** The name of the block, or the host of the URL, maybe with a port; the path of a unix socket. */
function hostOf({ group: { name } }: UpstreamEntry): string {
  return /^unix:/i.test(name) ? name.slice("unix:".length) : name;
}

/** As nginx does it, with an IPv6 address in brackets. */
function withoutPort(name: string): string {
  const colon = name.indexOf(":", name.startsWith("[") ? Math.max(0, name.indexOf("]")) : 0);
  return colon < 0 ? name : name.slice(0, colon);
}

const SESSIONS: ZoneKind = { name: "upstream_ssl_sessions", version: 1 };
const SESSIONS_BYTES = 256 * 1024;
/** With room for several names of each server. */
const BYTES_PER_SERVER = 8 * 1024;

/** While a cycle is built: has the workers share the sessions of an upstream that has a `zone`, as nginx does. */
export function shareSessions(upstream: UpstreamEntry, cycle: Cycle): void {
  const { name, capacity, definition } = upstream.group;
  if (!definition.zone || upstream.sessions !== undefined) return;
  let size = SESSIONS_BYTES;
  // Not for the servers that there are: where names are resolved, the processes know of different ones.
  while (size < capacity * BYTES_PER_SERVER) size *= 2;
  const log = openMainLog(cycle);
  const zone = cycle.zone({ kind: SESSIONS, name, size });
  upstream.sessions = new SharedClientSessions(new SessionCache(zone, (level, text) => log.write(level, text)));
}

/** This process's, over reloads. */
const ownSessions: ClientSessions = new OwnClientSessions();

/** How to agree on TLS with the server at that address. */
export function clientSettings(choice: TlsChoice, address: string): TlsClientSettings {
  const { settings, name, certificates, upstream, identity } = choice;
  const server = `${upstream.group.name} ${address} ${identity}`;
  const sessions = upstream.sessions ?? ownSessions;
  return {
    context: settings.context,
    serverName: settings.sendsName ? sentName(name) : "",
    verifiedName: settings.verifies ? name : undefined,
    certificates,
    resumes: settings.reusesSessions ? { sessions, server } : undefined,
  };
}
