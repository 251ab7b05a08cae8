import type { Group } from "../../balancer/group.ts";
import type { Peer } from "../../balancer/peer.ts";
import { Pool } from "../../balancer/pool.ts";
import type { Request } from "../core/request.ts";
import type { ClientConnection } from "../core/types.ts";

/** How long a server's connection is kept where `keepalive 0` keeps none for others: as by default. */
const SEPARATE = { requests: 1000, time: 3_600_000, timeout: 60_000, streams: 1 };

/** A client's connection whose requests all go over one connection to a server of an upstream (`ntlm`). */
export class BoundClient {
  /** Its server's connection while no request uses it. */
  readonly pool: Pool;
  /** The server that was chosen last; "" before. */
  #name = "";

  constructor({ keepalive }: Group) {
    this.pool = new Pool({ ...(keepalive ?? SEPARATE), connections: 1, streams: 1, local: false });
  }

  /** The index of its server, if there still is one. */
  preferred(peers: readonly Peer[]): number {
    return this.#name === "" ? -1 : peers.findIndex(({ name }) => name === this.#name);
  }

  chosen(peer: Peer): void {
    this.#name = peer.name;
  }
}

/** By the upstream's name, which stays the same over reloads. */
const bound = new WeakMap<ClientConnection, Map<string, BoundClient>>();

/**
 * The binding of a request's client in an upstream with `ntlm`: there is one from the first request with the credentials of
 * NTLM or Negotiate on, which vouch for a connection and not for a request. Undefined before.
 */
export function boundClient({ connection, headers }: Request, group: Group): BoundClient | undefined {
  const known = bound.get(connection)?.get(group.name);
  if (known !== undefined) return known;
  if (!/^(?:NTLM|Negotiate)(?: |$)/i.test(headers.get("authorization") ?? "")) return undefined;
  const client = new BoundClient(group);
  const clients = bound.get(connection) ?? new Map<string, BoundClient>();
  bound.set(connection, clients.set(group.name, client));
  // Nobody else may ever have the server's connection.
  connection.atClose = [...(connection.atClose ?? []), () => client.pool.close()];
  return client;
}
