import { refusalsOf, warn } from "../../config/errors.ts";
import type { Scope } from "../../config/schema.ts";
import { ConfigError, type Directive } from "../../config/types.ts";
import { type Address, addressText, isWildcard } from "../../net/address.ts";
import type { HostWanted, ListenSpec } from "../../runtime/application.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import { startedAsRoot } from "../../sys/users.ts";
import type { Server } from "../core/types.ts";
import type { AddressConfig } from "../server/site.ts";
import type { BuiltHttp, BuiltServer } from "./build.ts";
import { defaultListen, type ListenOptions, type ParsedListen, parseListen, resolvedAddresses } from "./listen.ts";
import { serverDirectives } from "./server_directives.ts";
import { buildServerNames, findServer, type ServerNames } from "./server_names.ts";

/** A socket to bind with what is served on it. */
export interface ListeningSocket {
  readonly spec: ListenSpec;
  /** What is served, by the address a connection arrived on: the last entry is the socket's own. */
  readonly serves: readonly AddressConfig[];
}

/**
 * All listening addresses of a configuration, with the servers on each: what ngx_http_add_listen gathers and
 * ngx_http_init_listening makes sockets of.
 */
export interface ListenTable<S> {
  /** By address text, in the order first met. */
  readonly addresses: Map<string, ListenAddress<S>>;
}

export interface ListenAddress<S> {
  readonly address: Address;
  readonly text: string;
  options: ListenOptions;
  defaultServer: S;
  /** In the order written. */
  readonly servers: S[];
  /** For the warning about `proxy_protocol` given here and not there. */
  protocols: boolean | undefined;
  protocolsChanged: boolean;
}

/** One socket to bind, and the addresses it serves. */
export interface ListenSocket<S> {
  readonly address: Address;
  readonly options: ListenOptions;
  /**
   * What is served, by the address a connection arrived on: the first entry with that address, else the last (the
   * socket's own). Only one with several entries needs the connection's local address.
   */
  readonly serves: readonly ListenAddress<S>[];
}

export function newListenTable<S>(): ListenTable<S> {
  return { addresses: new Map() };
}

/** Adds one `listen` of a server on one address. Returns warnings, or an error; both nginx's sentences. */
export function addListen<S>(
  table: ListenTable<S>,
  server: S,
  address: Address,
  options: ListenOptions,
): readonly string[] | { readonly error: string } {
  const text = addressText(address);
  const known = table.addresses.get(text);
  if (known === undefined) {
    table.addresses.set(text, {
      address,
      text,
      options,
      defaultServer: server,
      servers: [server],
      protocols: undefined,
      protocolsChanged: false,
    });
    return [];
  }
  if (known.servers.includes(server)) return { error: `a duplicate listen ${text}` };
  known.servers.push(server);
  const before = known.options;
  if (options.set && before.set) return { error: `duplicate listen options for ${text}` };
  if (options.defaultServer && before.defaultServer) return { error: `a duplicate default server for ${text}` };
  if (options.defaultServer) known.defaultServer = server;
  const redefined = noteProtocols(known, before, options);
  known.options = {
    ...(options.set ? options : before),
    defaultServer: before.defaultServer || options.defaultServer,
    proxyProtocol: before.proxyProtocol || options.proxyProtocol,
  };
  return redefined ? [`protocol options redefined for ${text}`] : [];
}

/** Whether this `listen` speaks otherwise of the protocol than earlier ones, which deserves a warning. */
function noteProtocols<S>(known: ListenAddress<S>, before: ListenOptions, options: ListenOptions): boolean {
  const was = before.proxyProtocol;
  const is = options.proxyProtocol;
  // Options written out in full for the address may add to what shorter listens said, once.
  if (is && !was) {
    const redefined = (before.set && !options.set) || known.protocolsChanged;
    known.protocols = was;
    known.protocolsChanged = true;
    return redefined;
  }
  const differs = known.protocols !== undefined && is !== known.protocols;
  const redefined = was && !is ? options.set || differs : (options.set && known.protocolsChanged) || differs;
  if (was && !is) known.protocolsChanged = true;
  known.protocols = is;
  return redefined;
}

/**
 * The sockets to bind. Where `*:port` is listened on, its socket also takes the other addresses of that port and
 * family, but for those that ask for a socket of their own (`bind` or a parameter that implies it).
 */
export function listenSockets<S>(table: ListenTable<S>): ListenSocket<S>[] {
  const ports = new Map<string, ListenAddress<S>[]>();
  for (const entry of table.addresses.values()) {
    const { address } = entry;
    // Unix sockets have no port: each path is its own.
    const key = address.family === "unix" ? entry.text : `${address.family} ${address.port}`;
    const group = ports.get(key);
    if (group === undefined) ports.set(key, [entry]);
    else group.push(entry);
  }
  const sockets: ListenSocket<S>[] = [];
  for (const group of ports.values()) {
    const wildcard = group.find(({ address }) => isWildcard(address));
    const others = group.filter((entry) => entry !== wildcard);
    for (const entry of others) {
      if (wildcard !== undefined && !entry.options.bind) continue;
      sockets.push({ address: entry.address, options: entry.options, serves: [entry] });
    }
    if (wildcard === undefined) continue;
    const shared = others.filter(({ options }) => !options.bind);
    sockets.push({ address: wildcard.address, options: wildcard.options, serves: [...shared, wildcard] });
  }
  return sockets;
}

/** The entry of a socket for a connection that arrived on `local`; the last is the socket's own. */
export function servedOn<T extends { readonly address: Address }>(serves: readonly T[], local: Address): T {
  if (local.family !== "unix") {
    for (const entry of serves) {
      const { address } = entry;
      if (address.family !== "unix" && address.host === local.host) return entry;
    }
  }
  return serves[serves.length - 1];
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
      return addressConfig(entry, place, listening, http.variables);
    });
    return { spec: listenSpec(socket), serves };
  });
}

function addressesOf(line: ParsedListen, at: Directive, cycle: Cycle): readonly Address[] {
  const { place } = line;
  const ips = "addresses" in place ? [] : (cycle.data.hosts[place.host] ?? []).map(hostOf);
  const addresses = resolvedAddresses(line, at.args[0] ?? "", ips);
  if ("error" in addresses) throw new ConfigError(addresses.error, at);
  return addresses;
}

function hostOf(address: Address): string {
  return address.family === "unix" ? "" : address.host;
}

function listenSpec({ address, options }: ListenSocket<BuiltServer>): ListenSpec {
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
  variables: number,
): AddressConfig {
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
    limits: defaultServer.server.limits,
    limitsOf: limitsByHost(servers, built.names),
    variables,
  };
}

/** Undefined where all servers of the address have the same limits: then no host needs to be looked up for them. */
function limitsByHost(servers: readonly BuiltServer[], names: ServerNames<Server>): AddressConfig["limitsOf"] {
  const limits = new Map(servers.map(({ server }) => [server, server.limits]));
  const all = [...limits.values()].map((one) => JSON.stringify(one));
  if (new Set(all).size <= 1) return undefined;
  return (host) => findServer(names, host, []).limits;
}
