import { refusalsOf, warn } from "../../config/errors.ts";
import type { Scope } from "../../config/schema.ts";
import { ConfigError, type Directive } from "../../config/types.ts";
import { type Address, addressText } from "../../net/address.ts";
import { hostAddresses } from "../../net/parse_url.ts";
import type { HostWanted, ListenSpec } from "../../runtime/application.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import { startedAsRoot } from "../../sys/users.ts";
import type { Server } from "../core/location.ts";
import type { AddressConfig } from "../server/types.ts";
import type { BuiltHttp } from "./build.ts";
import { defaultListen, type ParsedListen, parseListen, resolvedAddresses } from "./listen.ts";
import { addListen, type ListenAddress, type ListenSocket, listenSockets, newListenTable } from "./listen_table.ts";
import type { BuiltServer } from "./location_builder.ts";
import type { ModuleListener } from "./module.ts";
import { serverDirectives } from "./server_directives.ts";
import { buildServerNames, findServer, type ServerNames } from "./server_names.ts";

/** A socket to bind and what is served on it. */
export interface ListeningSocket {
  readonly spec: ListenSpec;
  /** What is served, by the local address of a connection; the last entry is for the socket's own address. */
  readonly serves: readonly AddressConfig[];
}

function parsed(at: Directive): ParsedListen {
  const listen = parseListen(at.args);
  if ("error" in listen) throw new ConfigError(listen.error, at);
  return listen;
}

/** Host names in `listen` directives. */
export function listenHosts(http: Scope): HostWanted[] {
  const wanted: HostWanted[] = [];
  for (const server of http.children) {
    if (server.context !== "server") continue;
    for (const at of serverDirectives.in(server).listen) {
      const place = refusalsOf(http).attempt(() => parsed(at).place);
      if (place === undefined || "addresses" in place) continue;
      const error = `host not found in "${at.args[0]}" of the "listen" directive`;
      wanted.push({ host: place.host, file: at.file, line: at.line, error });
    }
  }
  return wanted;
}

/** Puts the servers on their addresses, finds each address's default server and its names, and the sockets to bind. */
export function buildSockets(http: BuiltHttp, cycle: Cycle): ListeningSocket[] {
  const table = newListenTable<BuiltServer>();
  const places = new Map<string, Directive>();
  const refusals = refusalsOf(cycle.root);
  for (const server of http.servers) {
    const { listen } = serverDirectives.in(server.scope);
    const lines = listen.length === 0 ? [server.scope.directive] : listen;
    for (const at of lines) {
      refusals.attempt(() => {
        const line = listen.length === 0 ? defaultListen(startedAsRoot) : parsed(at);
        for (const warning of line.warnings) warn(at, server.scope, warning);
        for (const address of addressesOf(line, at, cycle)) {
          const warnings = addListen(table, server, address, line.options);
          if ("error" in warnings) throw new ConfigError(warnings.error, at);
          for (const warning of warnings) warn(at, server.scope, warning);
          if (!places.has(addressText(address))) places.set(addressText(address), at);
        }
      });
    }
  }
  return listenSockets(table).map((socket) => {
    const listening = addressText(socket.address);
    const serves = socket.serves.map((entry) => {
      const place = places.get(entry.text) ?? entry.defaultServer.scope.directive;
      return addressConfig(entry, place, listening, http);
    });
    return { spec: listenSpec(socket), serves };
  });
}

/** An address of a module's own protocol is its alone. Throws ConfigError. */
export function refuseDuplicates(sockets: readonly ListeningSocket[], listeners: readonly ModuleListener[]): void {
  const taken = new Set(sockets.map(({ spec }) => spec.key));
  for (const { spec, at } of listeners) {
    if (taken.has(spec.key)) throw new ConfigError(`a duplicate listen ${spec.key}`, at);
    taken.add(spec.key);
  }
}

/** The addresses of a `listen` line, once host names have been looked up. Throws ConfigError. */
export function addressesOf(line: ParsedListen, at: Directive, cycle: Cycle): readonly Address[] {
  const { place } = line;
  const ips = "addresses" in place ? [] : hostAddresses(place.host, cycle.data.hosts).map(hostOf);
  const addresses = resolvedAddresses(line, at.args[0] ?? "", ips);
  if ("error" in addresses) throw new ConfigError(addresses.error, at);
  return addresses;
}

function hostOf(address: Address): string {
  return address.family === "unix" ? "" : address.host;
}

export function listenSpec({ address, options }: Pick<ListenSocket<BuiltServer>, "address" | "options">): ListenSpec {
  const { soKeepalive } = options;
  return {
    address,
    key: addressText(address),
    backlog: options.backlog,
    ipv6only: address.family === "ipv6" ? options.ipv6only : undefined,
    reuseport: options.reuseport,
    keepalive: soKeepalive === "off" ? false : soKeepalive,
    deferred: options.deferred,
    rcvbuf: options.rcvbuf,
    sndbuf: options.sndbuf,
    fastopen: options.fastopen,
  };
}

function addressConfig(
  { address, text, options, servers, defaultServer }: ListenAddress<BuiltServer>,
  place: Directive,
  listening: string,
  { variables, responders }: BuiltHttp,
): AddressConfig {
  if (options.ssl) refuseWithoutCertificate(servers, defaultServer);
  const built = buildServerNames<Server>(servers, defaultServer.server, text);
  if ("error" in built) throw new ConfigError(built.error, place);
  for (const warning of built.warnings) warn(place, defaultServer.scope, warning);
  return {
    address,
    key: text,
    listening,
    defaultServer: defaultServer.server,
    names: built.names,
    proxyProtocol: options.proxyProtocol,
    ssl: options.ssl,
    http2: options.http2,
    responders,
    limits: defaultServer.server.limits,
    limitsOf: limitsByHost(servers, built.names),
    variables,
  };
}

/** ngx_http_ssl_init: a server that may have to shake hands has a certificate, or rejects all. */
function refuseWithoutCertificate(servers: readonly BuiltServer[], defaultServer: BuiltServer): void {
  const { tls } = defaultServer.server;
  if (tls.certified) return;
  const asked = tls.rejects ? servers : [defaultServer];
  const missing = asked.find(({ server }) => !server.tls.certified && !server.tls.rejects);
  if (missing === undefined) return;
  const { file, line } = missing.scope.directive;
  throw new ConfigError('no "ssl_certificate" is defined for the "listen ... ssl" directive', { file, line });
}

/** Undefined if all servers of the address have the same limits, so that no host need be looked up. */
function limitsByHost(servers: readonly BuiltServer[], names: ServerNames<Server>): AddressConfig["limitsOf"] {
  if (new Set(servers.map(({ server }) => server.limits)).size <= 1) return undefined;
  return (host) => findServer(names, host, []).limits;
}
