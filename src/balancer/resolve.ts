import { ConfigError } from "../config/types.ts";
import { type Address, addressText } from "../net/address.ts";
import { targetAddresses } from "../net/parse_url.ts";
import { SERVER_DEFAULTS, type ServerDefinition, type UpstreamDefinition } from "./definition.ts";
import type { Peer } from "./peer.ts";

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
  return { name, servers: [server], method: { name: "round_robin" }, keepalive: undefined, file, line };
}
