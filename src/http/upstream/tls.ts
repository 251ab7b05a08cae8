import type { CertificatePairs } from "../../net/tls/certificates.ts";
import { sentName, type TlsClientSettings } from "../../net/tls/client.ts";
import { type ClientSessions, OwnClientSessions } from "../../net/tls/client_sessions.ts";
import { sha256 } from "../../sys/openssl/sha256.ts";
import type { Request } from "../core/request.ts";
import { renderedPair, type UpstreamTls, type VariableCertificate } from "./tls_settings.ts";

/** What TLS to a server is for one request. A connection is used again only for a request with the same `identity`. */
export interface TlsChoice {
  readonly settings: UpstreamTls;
  /** The server's name; "" where it is neither sent nor verified. */
  readonly name: string;
  readonly certificates: CertificatePairs | undefined;
  /** The upstream's, whose sessions are not another's. */
  readonly group: string;
  readonly identity: string;
}

/** `group`: the name of the upstream, which is that of the block or the address in the URL. */
export function chooseTls(request: Request, settings: UpstreamTls, group: string): TlsChoice {
  const { name, certificate } = settings;
  const pair = certificate === undefined ? undefined : certificateFor(request, certificate);
  return tlsChoice(settings, name?.render(request) ?? hostOf(group), pair, group);
}

/** The same where it does not depend on the request; else undefined. */
export function constantTls(settings: UpstreamTls, group: string): TlsChoice | undefined {
  const { name, certificate } = settings;
  if (certificate !== undefined || (name !== undefined && name.constant === undefined)) return undefined;
  return tlsChoice(settings, name?.constant ?? hostOf(group), undefined, group);
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
  group: string,
): TlsChoice {
  const { sendsName, verifies } = settings;
  const name = sendsName || verifies ? withoutPort(named) : "";
  let identity = `${settings.identity} ${sendsName} ${name}`;
  if (certificates !== undefined) {
    // The names may be the certificate and key themselves.
    const [{ certificate, key }] = certificates.pairs;
    identity += ` ${sha256(Buffer.from(`${certificate}\0${key}`, "latin1")).toString("base64url")}`;
  }
  return { settings, name, certificates, group, identity };
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

/** This process's, over reloads. */
const ownSessions: ClientSessions = new OwnClientSessions();

/** How to agree on TLS with the server at that address. */
export function clientSettings(choice: TlsChoice, address: string): TlsClientSettings {
  const { settings, name, certificates, group, identity } = choice;
  const server = `${group} ${address} ${identity}`;
  return {
    context: settings.context,
    serverName: settings.sendsName ? sentName(name) : "",
    verifiedName: settings.verifies ? name : undefined,
    certificates,
    resumes: settings.reusesSessions ? { sessions: ownSessions, server } : undefined,
  };
}
