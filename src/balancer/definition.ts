import { ConfigError } from "../config/types.ts";
import { type Address, addressText } from "../net/address.ts";
import { type Target, targetAddresses } from "../net/parse_url.ts";
import type { KeepaliveSettings, Peer } from "./peer.ts";

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
  readonly file: string;
  readonly line: number;
}

/** The balancing method with its parameters. `key` is the text of `hash` with its $variables. */
export type MethodDefinition =
  | { readonly name: "round_robin" | "least_conn" | "ip_hash" | "random" | "random_two" }
  | { readonly name: "hash" | "hash_consistent"; readonly key: string }
  | { readonly name: "least_time"; readonly mode: "header" | "last_byte"; readonly inflight: boolean };

export interface UpstreamDefinition {
  readonly name: string;
  readonly servers: readonly ServerDefinition[];
  readonly method: MethodDefinition;
  readonly keepalive: KeepaliveSettings | undefined;
  /** It has a `zone`. */
  readonly zone: boolean;
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
} as const;

/** Names resolved when the configuration was loaded (CycleData.hosts). */
export type Hosts = Readonly<Record<string, readonly Address[]>>;

/** The servers of a definition by address: main servers first, then backup ones, as nginx keeps them. */
export function resolvePeers(definition: UpstreamDefinition, hosts: Hosts): Peer[] {
  const peers: Peer[] = [];
  for (const backup of [false, true]) {
    for (const server of definition.servers) {
      if (server.backup !== backup) continue;
      for (const address of addressesOf(server, hosts)) {
        const { server: text, weight, maxFails, failTimeout, maxConns, slowStart, down, drain, route } = server;
        const index = peers.length;
        const name = addressText(address);
        const limits = { weight, maxFails, failTimeout, maxConns, slowStart };
        peers.push({ index, address, name, server: text, ...limits, backup, down, drain, route });
      }
    }
  }
  return peers;
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
  return { name, servers: [server], method: { name: "round_robin" }, keepalive: undefined, zone: false, file, line };
}
