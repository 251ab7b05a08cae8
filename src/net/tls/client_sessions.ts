import type { SslContext } from "../../sys/openssl/context.ts";
import {
  decodeEncoded,
  encodedSpace,
  encodeSession,
  freeSession,
  holdSession,
  offerSession,
  type SessionHandler,
  SSL_SESS_CACHE,
  setSessionCache,
  tellNewSessions,
} from "../../sys/openssl/session.ts";
import { sha256 } from "../../sys/openssl/sha256.ts";
import type { SslConnection } from "../../sys/openssl/ssl.ts";
import { MAX_SESSION, type SessionCache } from "./session_cache.ts";

/**
 * The sessions that servers give to a client, the last one of each server (ngx_http_upstream_round_robin.c). `server` is whatever
 * tells servers, and what was agreed on with them, apart.
 */
export interface ClientSessions {
  /** Before a handshake: lets the connection resume the server's session, if there is one. */
  offer(connection: SslConnection, server: string): void;
  /** The session is lent. */
  save(server: string, session: bigint): void;
}

/** ngx_ssl_client_session_cache: connections of the context tell of their sessions. */
export function keepClientSessions(context: SslContext): void {
  setSessionCache(context, SSL_SESS_CACHE.CLIENT | SSL_SESS_CACHE.NO_INTERNAL);
  tellNewSessions(context);
}

/** Has a connection offer what is known, and its sessions be saved; those of TLS 1.3 come after the handshake. */
export function resumeSessions(connection: SslConnection, sessions: ClientSessions, server: string): void {
  connection.sessions = new Saving(sessions, server);
  sessions.offer(connection, server);
}

class Saving implements SessionHandler {
  readonly #sessions: ClientSessions;
  readonly #server: string;

  constructor(sessions: ClientSessions, server: string) {
    this.#sessions = sessions;
    this.#server = server;
  }

  onNewSession(_connection: SslConnection, session: bigint): void {
    this.#sessions.save(this.#server, session);
  }

  // Of a server's side.
  findSession(): bigint {
    return 0n;
  }
  removeSession(): void {}
}

/** A session has a certificate with it, and takes some KiB. */
const MOST_SERVERS = 2048;

/** A process's own: its reference to each. A name in `server` may come from clients, so the one saved longest ago makes room. */
export class OwnClientSessions implements ClientSessions {
  readonly #sessions = new Map<string, bigint>();

  offer(connection: SslConnection, server: string): void {
    const session = this.#sessions.get(server);
    if (session !== undefined) offerSession(connection, session);
  }

  save(server: string, session: bigint): void {
    holdSession(session);
    this.#remove(server);
    this.#sessions.set(server, session);
    if (this.#sessions.size <= MOST_SERVERS) return;
    for (const oldest of this.#sessions.keys()) {
      this.#remove(oldest);
      return;
    }
  }

  #remove(server: string): void {
    const session = this.#sessions.get(server);
    if (session === undefined) return;
    this.#sessions.delete(server);
    freeSession(session);
  }
}

/** How long a ticket may be used at most, in s (RFC 8446 section 4.6.1). */
const LONGEST_LIFETIME = 604_800;

/** Those of all workers, as DER in a zone. */
export class SharedClientSessions implements ClientSessions {
  readonly #cache: SessionCache;

  constructor(cache: SessionCache) {
    this.#cache = cache;
  }

  offer(connection: SslConnection, server: string): void {
    const length = this.#cache.find(idOf(server), encodedSpace());
    const session = length === 0 ? 0n : decodeEncoded(length);
    if (session === 0n) return;
    offerSession(connection, session);
    freeSession(session);
  }

  save(server: string, session: bigint): void {
    const encoded = encodeSession(session, MAX_SESSION);
    if (encoded !== undefined) this.#cache.store(idOf(server), encoded, LONGEST_LIFETIME);
  }
}

function idOf(server: string): string {
  return sha256(Buffer.from(server, "latin1")).latin1Slice();
}
