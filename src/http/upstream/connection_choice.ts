import type { Peer } from "../../balancer/peer.ts";
import type { Pool } from "../../balancer/pool.ts";
import { parseAddrPort } from "../../net/parse_url.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import type { UpstreamTarget } from "./protocol.ts";
import { ServerConnection } from "./server_connection.ts";

/** A connection to the peer, an idle one from the pool or a new one. */
export function connectionTo(
  peer: Peer,
  target: UpstreamTarget,
  request: Request,
  pool: Pool | undefined,
): ServerConnection {
  const { bind, place, protocol } = target.settings;
  const source = bind === undefined ? "" : (bind.address.constant ?? bind.address.render(request));
  const { tls } = target;
  let identity = source;
  if (tls !== undefined) identity = source === "" ? tls.identity : `${source}\0${tls.identity}`;
  if (protocol.identity !== "") {
    identity = identity === "" ? protocol.identity : `${identity}\0${protocol.identity}`;
  }
  const pooled = pool?.take(peer, place, identity);
  if (pooled !== undefined) {
    const { data } = pooled;
    if (data instanceof ServerConnection) return data;
    // Not ours: as any connection that cannot be used.
    pooled.leave();
    pooled.stream.destroy();
  }
  const local = source === "" ? undefined : parseAddrPort(source);
  if (local === undefined && source !== "") logError(request, "error", `invalid local address "${source}"`);
  return new ServerConnection(protocol, peer, identity, tls, {
    address: peer.address,
    localAddress: local?.host,
    localPort: local?.port,
    transparent: bind?.transparent,
    rcvbuf: target.settings.socketRcvbuf,
    sndbuf: target.settings.socketSndbuf,
  });
}
