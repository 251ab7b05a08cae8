import { ConfigError } from "../config/types.ts";
import { type Address, addressText, withPort } from "../net/address.ts";
import { type Target, targetAddresses } from "../net/parse_url.ts";
import type { KeepaliveSettings, Peer } from "./peer.ts";
import { nameKey, type ResolvedNames } from "./resolved.ts";

/** One `server` of an upstream as configured; times in ms. */
export interface ServerDefinition {
  /** The address as written, without the parameters. */
  readonly server: string;
  /** Where it is: a literal address, or a name to resolve. */
  readonly target: Target;
  readonly weight: number;
  readonly maxConns: number;
  readonly maxFails: number;
  readonly failTimeout: number;
  readonly slowStart: number;
  readonly backup: boolean;
  readonly down: boolean;
  readonly drain: boolean;
  readonly route: string;
  /** Its name is resolved while serving. */
  readonly resolve: boolean;
  /** The service whose SRV records say where it is (`_http._tcp` or `http`); "": none. */
  readonly service: string;
  readonly file: string;
  readonly line: number;
}

/** The balancing method with its parameters. `key` is the text of `hash` with its $variables. */
export type MethodDefinition =
  | { readonly name: "round_robin" | "least_conn" | "ip_hash" | "random" }
  /** Of the two the one with fewer connections, or with the least response time. */
  | { readonly name: "random_two"; readonly by: "least_conn" | TimeMode }
  | { readonly name: "hash" | "hash_consistent"; readonly key: string }
  | { readonly name: "least_time"; readonly mode: TimeMode; readonly inflight: boolean };

/** Until when a server's response time is measured. */
export type TimeMode = "header" | "last_byte";

export interface QueueSettings {
  /** How many requests may wait, in all workers together. */
  readonly length: number;
  /** How long each, ms. */
  readonly timeout: number;
}

export interface UpstreamDefinition {
  readonly name: string;
  readonly servers: readonly ServerDefinition[];
  readonly method: MethodDefinition;
  readonly keepalive: KeepaliveSettings | undefined;
  /** Where requests wait that find no server. */
  readonly queue: QueueSettings | undefined;
  /** Clients that authenticate by NTLM have connections of their own. */
  readonly ntlm: boolean;
  /** Its servers are kept in a file: there may be none. */
  readonly state: boolean;
  /** Bytes of its `zone`; 0 where it has none. */
  readonly zone: number;
  readonly file: string;
  readonly line: number;
}

/** The parameters of a server that sets none. */
export const SERVER_DEFAULTS = {
  weight: 1,
  maxConns: 0,
  maxFails: 1,
  failTimeout: 10_000,
  slowStart: 0,
  backup: false,
  down: false,
  drain: false,
  route: "",
  resolve: false,
  service: "",
} as const;

/** Names resolved when the configuration was loaded (CycleData.hosts). */
export type Hosts = Readonly<Record<string, readonly Address[]>>;

/** What the name of a server that is resolved while serving is filed under; undefined for any other server. */
export function resolvedName({ resolve, target, service }: ServerDefinition): string | undefined {
  return resolve && !("family" in target) ? nameKey(target.host, service) : undefined;
}

/** The servers of a definition by address: main servers first, then backup ones, as nginx keeps them. */
export function resolvePeers(definition: UpstreamDefinition, hosts: Hosts, names: ResolvedNames): Peer[] {
  const peers: Peer[] = [];
  for (const backup of [false, true]) {
    for (const server of definition.servers) {
      for (const found of placesOf(server, hosts, names)) {
        if (found.backup !== backup) continue;
        const { maxFails, failTimeout, maxConns, slowStart, down, drain, route } = server;
        const index = peers.length;
        const name = addressText(found.address);
        const limits = { maxFails, failTimeout, maxConns, slowStart };
        peers.push({ index, name, ...found, ...limits, down, drain, route, sid: "" });
      }
    }
  }
  return peers;
}

/** What differs between the addresses of one server. */
type Place = Pick<Peer, "address" | "server" | "weight" | "backup">;

function placesOf(server: ServerDefinition, hosts: Hosts, names: ResolvedNames): readonly Place[] {
  const { server: text, weight, backup } = server;
  const key = resolvedName(server);
  if (key === undefined) {
    return addressesOf(server, hosts).map((address) => ({ address, server: text, weight, backup }));
  }
  const port = "port" in server.target ? server.target.port : 0;
  return (names.get(key) ?? []).flatMap(({ address, service }): readonly Place[] => {
    if (service === undefined) return [{ address: withPort(address, port), server: text, weight, backup }];
    // As in nginx: of a backup server only the records that come first are used.
    if (backup && service.backup) return [];
    const own = weight === SERVER_DEFAULTS.weight ? service.weight : weight;
    return [{ address, server: service.name, weight: own, backup: backup || service.backup }];
  });
}

function addressesOf(server: ServerDefinition, hosts: Hosts): readonly Address[] {
  const found = targetAddresses(server.target, hosts);
  if (found.length === 0) throw new ConfigError(hostNotFound(server.server), server, "complete");
  return found;
}

/** nginx's sentence for a name that does not resolve. */
export function hostNotFound(server: string): string {
  return `host not found in upstream "${server}"`;
}

/** The upstream that `proxy_pass` to a host implies: default parameters, round robin, no keep-alive connections. */
export function implicitUpstream(
  name: string,
  target: ServerDefinition["target"],
  place: { readonly file: string; readonly line: number },
): UpstreamDefinition {
  const { file, line } = place;
  const server = { ...SERVER_DEFAULTS, server: name, target, file, line };
  return {
    name,
    servers: [server],
    method: { name: "round_robin" },
    keepalive: undefined,
    queue: undefined,
    ntlm: false,
    state: false,
    zone: 0,
    file,
    line,
  };
}
