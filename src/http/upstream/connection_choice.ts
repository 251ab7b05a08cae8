import type { Peer } from "../../balancer/peer.ts";
import type { Pool, PooledStream } from "../../balancer/pool.ts";
import type { ConnectOptions } from "../../net/engine.ts";
import { parseAddrPort } from "../../net/parse_url.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { H2ServerConnection } from "./h2/connection.ts";
import type { UpstreamTarget } from "./protocol.ts";
import { ServerConnection } from "./server_connection.ts";
import type { ServerExchange } from "./server_exchange.ts";

/** A connection to the peer, an idle one from the pool or a new one; only a new one where `fresh`. */
export function connectionTo(
  peer: Peer,
  target: UpstreamTarget,
  request: Request,
  pool: Pool | undefined,
  fresh: boolean,
): ServerExchange {
  const { bind, place, protocol } = target.settings;
  const source = bind === undefined ? "" : (bind.address.constant ?? bind.address.render(request));
  const { tls } = target;
  let identity = source;
  if (tls !== undefined) identity = source === "" ? tls.identity : `${source}\0${tls.identity}`;
  if (protocol.identity !== "") {
    identity = identity === "" ? protocol.identity : `${identity}\0${protocol.identity}`;
  }
  if (protocol.open === undefined) return streamTo(peer, target, request, pool, identity, fresh);
  const pooled = fresh ? undefined : pool?.take(peer, place, identity);
  if (pooled !== undefined) {
    const { data } = pooled;
    if (data instanceof ServerConnection) return data;
    drop(pooled);
  }
  const options = optionsOf(peer, target, request, source);
  return new ServerConnection(protocol.open, peer, identity, tls, options);
}

/** A stream on a connection that others may use as well. */
function streamTo(
  peer: Peer,
  target: UpstreamTarget,
  request: Request,
  pool: Pool | undefined,
  identity: string,
  fresh: boolean,
): ServerExchange {
  const { bind, place, socketKeepalive } = target.settings;
  const pooled = fresh ? undefined : (pool?.join(peer, place, identity) ?? pool?.take(peer, place, identity));
  if (pooled !== undefined) {
    const { data } = pooled;
    if (data instanceof H2ServerConnection) {
      pool?.share(pooled, place);
      return data.join();
    }
    drop(pooled);
  }
  const source = bind === undefined ? "" : (bind.address.constant ?? bind.address.render(request));
  const options = optionsOf(peer, target, request, source);
  const connection = new H2ServerConnection(peer, identity, target.tls, options, socketKeepalive);
  pool?.share(connection.pooled, place);
  return connection.join();
}

/** Not ours: as any connection that cannot be used. */
function drop(pooled: PooledStream): void {
  pooled.leave();
  pooled.stream.destroy();
}

function optionsOf(peer: Peer, { settings }: UpstreamTarget, request: Request, source: string): ConnectOptions {
  const local = source === "" ? undefined : parseAddrPort(source);
  if (local === undefined && source !== "") logError(request, "error", `invalid local address "${source}"`);
  return {
    address: peer.address,
    localAddress: local?.host,
    localPort: local?.port,
    transparent: settings.bind?.transparent,
    rcvbuf: settings.socketRcvbuf,
    sndbuf: settings.socketSndbuf,
  };
}
