import { warn } from "../config/directives.ts";
import type { Scope } from "../config/schema.ts";
import { ConfigError, type Directive } from "../config/types.ts";
import { type Address, addressText } from "../net/address.ts";
import type { Cycle, HostWanted, ListenSpec } from "../runtime/cycle.ts";
import type { BuiltHttp, BuiltServer } from "./build.ts";
import type { RequestLimits } from "./h1/request_head.ts";
import { defaultListen, type ParsedListen, parseListen, resolvedAddresses } from "./listen.ts";
import type { Server } from "./location.ts";
import { type ServerSettings, serverDirectives } from "./server_directives.ts";
import { buildServerNames } from "./server_names.ts";
import type { AddressConfig } from "./site.ts";

/** A listening address with what is served on it. */
export interface ListeningAddress {
  readonly spec: ListenSpec;
  readonly config: AddressConfig;
}

interface Slot {
  readonly address: Address;
  options: ParsedListen["options"];
  proxyProtocol: boolean;
  readonly servers: BuiltServer[];
  defaultServer: BuiltServer | undefined;
  place: Directive;
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
      const { place } = parsed(at);
      if ("addresses" in place) continue;
      const error = `host not found in "${at.args[0]}" of the "listen" directive`;
      wanted.push({ host: place.host, file: at.file, line: at.line, error });
    }
  }
  return wanted;
}

/** Puts the servers on their addresses, finds each address's default server and its names. */
export function buildAddresses(http: BuiltHttp, cycle: Cycle): ListeningAddress[] {
  const slots = new Map<string, Slot>();
  for (const server of http.servers) {
    const { listen } = server.server.settings;
    if (listen.length === 0) add(slots, server, defaultListen(process.getuid?.() === 0), server.scope.directive, cycle);
    for (const at of listen) {
      const parsedListen = parsed(at);
      for (const warning of parsedListen.warnings) warn(at, server.scope, warning);
      add(slots, server, parsedListen, at, cycle);
    }
  }
  return [...slots.values()].map((slot) => finish(slot, http.variables));
}

function add(slots: Map<string, Slot>, server: BuiltServer, listen: ParsedListen, at: Directive, cycle: Cycle): void {
  const { place, options } = listen;
  const ips = "addresses" in place ? [] : (cycle.data.hosts[place.host] ?? []).map(hostOf);
  const addresses = resolvedAddresses(listen, at.args[0] ?? "", ips);
  if ("error" in addresses) throw new ConfigError(addresses.error, at);
  for (const address of addresses) {
    const key = addressText(address);
    const slot = slots.get(key);
    if (slot === undefined) {
      const defaultServer = options.defaultServer ? server : undefined;
      slots.set(key, {
        address,
        options,
        proxyProtocol: options.proxyProtocol,
        servers: [server],
        defaultServer,
        place: at,
      });
      continue;
    }
    if (slot.servers.includes(server)) throw new ConfigError(`a duplicate listen ${at.args[0]}`, at);
    slot.servers.push(server);
    if (options.set) {
      if (slot.options.set) throw new ConfigError(`duplicate listen options for ${key}`, at);
      slot.options = options;
    }
    if (options.proxyProtocol) slot.proxyProtocol = true;
    if (options.defaultServer) {
      if (slot.defaultServer !== undefined) throw new ConfigError(`a duplicate default server for ${key}`, at);
      slot.defaultServer = server;
    }
  }
}

function hostOf(address: Address): string {
  return address.family === "unix" ? "" : address.host;
}

function finish(slot: Slot, variables: number): ListeningAddress {
  const { address, options, servers } = slot;
  const chosen = slot.defaultServer ?? servers[0];
  const key = addressText(address);
  const built = buildServerNames<Server>(servers, chosen.server, key);
  if ("error" in built) throw new ConfigError(built.error, slot.place);
  for (const warning of built.warnings) warn(slot.place, chosen.scope, warning);
  const { soKeepalive } = options;
  return {
    spec: {
      address,
      key,
      backlog: options.backlog,
      ipv6only: address.family === "ipv6" ? options.ipv6only : undefined,
      reuseport: options.reuseport,
      keepalive: soKeepalive === "off" ? false : soKeepalive,
      deferred: options.deferred,
    },
    config: {
      address,
      defaultServer: chosen.server,
      names: built.names,
      proxyProtocol: slot.proxyProtocol,
      limits: requestLimits(chosen.server.settings),
      variables,
    },
  };
}

export function requestLimits(settings: ServerSettings): RequestLimits {
  return {
    headerBufferSize: settings.client_header_buffer_size,
    largeBuffers: settings.large_client_header_buffers.count,
    largeBufferSize: settings.large_client_header_buffers.size,
    maxHeaders: settings.max_headers,
    ignoreInvalid: settings.ignore_invalid_headers,
    underscores: settings.underscores_in_headers,
    allowConnect: false,
  };
}
