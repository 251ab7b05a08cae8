import { type Address, addressText, isWildcard } from "../../net/address.ts";
import type { ListenOptions } from "./listen.ts";

/**
 * All listening addresses of a configuration, with the servers on each (ngx_http_add_listen, ngx_http_init_listening).
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
  /** In the order of the configuration. */
  readonly servers: S[];
  /** State of the warning about contradictory `proxy_protocol` and `ssl`. */
  protocols: number | undefined;
  protocolsChanged: boolean;
}

/** One socket to bind, and the addresses it serves. */
export interface ListenSocket<S> {
  readonly address: Address;
  readonly options: ListenOptions;
  /**
   * The addresses it serves: a connection belongs to the first with its local address, else to the last, the socket's
   * own. With one entry the local address need not be asked for.
   */
  readonly serves: readonly ListenAddress<S>[];
}

export function newListenTable<S>(): ListenTable<S> {
  return { addresses: new Map() };
}

/** Adds one `listen` of a server on one address. Returns warnings or an error, in nginx's words. */
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
    ssl: before.ssl || options.ssl,
    http2: before.http2 || options.http2,
  };
  return redefined ? [`protocol options redefined for ${text}`] : [];
}

/** The options of a `listen` that say what is spoken, as bits. */
function protocolsOf({ proxyProtocol, ssl, http2 }: ListenOptions): number {
  return (proxyProtocol ? 1 : 0) | (ssl ? 2 : 0) | (http2 ? 4 : 0);
}

/** Whether this `listen` contradicts earlier ones about what is spoken, which is warned about (ngx_http_add_addresses). */
function noteProtocols<S>(known: ListenAddress<S>, before: ListenOptions, options: ListenOptions): boolean {
  const was = protocolsOf(before);
  const is = protocolsOf(options);
  const both = was | is;
  if (both !== was) {
    // The `listen` with socket options may add them once to others without options.
    const redefined = (before.set && !options.set) || known.protocolsChanged || both !== is;
    known.protocols = was;
    known.protocolsChanged = true;
    return redefined;
  }
  const removed = both !== is;
  const differs = known.protocols !== undefined && is !== known.protocols;
  const redefined = differs || (options.set && (removed || known.protocolsChanged));
  if (removed) known.protocolsChanged = true;
  known.protocols = is;
  return redefined;
}

/**
 * The sockets to bind. The socket of `*:port` also serves the other addresses of that port and family, except those
 * with `bind` or a parameter that implies it.
 */
export function listenSockets<S>(table: ListenTable<S>): ListenSocket<S>[] {
  const ports = new Map<string, ListenAddress<S>[]>();
  for (const entry of table.addresses.values()) {
    const { address } = entry;
    // Unix sockets have no port: each path is a socket.
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

/** The entry for a connection with that local address; the last is the socket's own. */
export function servedOn<T extends { readonly address: Address }>(serves: readonly T[], local: Address): T {
  if (local.family !== "unix") {
    for (const entry of serves) {
      const { address } = entry;
      if (address.family !== "unix" && address.host === local.host) return entry;
    }
  }
  return serves[serves.length - 1];
}
