import type { SslContext } from "../../sys/openssl/context.ts";
import {
  askForSessions,
  decodeEncoded,
  encodedSpace,
  encodeSession,
  isKeptInTicket,
  refuseTickets,
  type SessionHandler,
  SSL_SESS_CACHE,
  sessionId,
  setSessionCache,
  setSessionTimeout,
  tellNewSessions,
} from "../../sys/openssl/session.ts";
import { setSessionIdContext } from "../../sys/openssl/session_id_context.ts";
import type { SslConnection } from "../../sys/openssl/ssl.ts";
import { type TicketKey, type TicketKeyOwner, useTicketKeys } from "../../sys/openssl/ticket.ts";
import { MAX_SESSION, type SessionCache } from "./session_cache.ts";
import type { TicketKeys } from "./ticket_keys.ts";

/** How clients may resume their sessions (ngx_ssl_session_cache, ngx_ssl_session_ticket_keys). */
export interface SessionSettings {
  /**
   * ssl_session_cache: "none" tells clients that sessions may be resumed, and keeps none. `builtin`: each worker keeps as many
   * for itself, 0 without a limit, "default" as OpenSSL limits them.
   */
  readonly cache: "off" | "none" | { readonly builtin?: number | "default"; readonly shared?: SessionCache };
  /** ssl_session_timeout, in s */
  readonly timeout: number;
  /** ssl_session_tickets */
  readonly tickets: boolean;
  /** Undefined: OpenSSL makes one for this context. */
  readonly ticketKeys: TicketKeys | undefined;
  /** Sessions of servers that differ in this are not shared. */
  readonly idContext: readonly string[];
}

/** To be called when the context has its certificates and its list of CAs. */
export function useSessions(context: SslContext, settings: SessionSettings): void {
  const { cache, timeout, tickets, ticketKeys } = settings;
  setSessionTimeout(context, timeout);
  setSessionIdContext(context, settings.idContext);
  if (!tickets) refuseTickets(context);
  if (ticketKeys !== undefined) useTicketKeys(context, new Tickets(ticketKeys, timeout));
  if (cache === "off") setSessionCache(context, SSL_SESS_CACHE.OFF);
  else if (cache === "none") {
    setSessionCache(
      context,
      SSL_SESS_CACHE.SERVER | SSL_SESS_CACHE.NO_AUTO_CLEAR | SSL_SESS_CACHE.NO_INTERNAL_STORE,
      1,
    );
  } else {
    const { builtin, shared } = cache;
    const internal = builtin === undefined ? SSL_SESS_CACHE.NO_INTERNAL : 0;
    setSessionCache(context, SSL_SESS_CACHE.SERVER | internal, builtin === "default" ? undefined : builtin);
    if (shared !== undefined) {
      context.sessions = new SharedSessions(shared, timeout);
      tellNewSessions(context);
      askForSessions(context);
    }
  }
}

class Tickets implements TicketKeyOwner {
  readonly #keys: TicketKeys;
  readonly #timeout: number;

  constructor(keys: TicketKeys, timeout: number) {
    this.#keys = keys;
    this.#timeout = timeout;
  }

  ticketKeys(): readonly TicketKey[] {
    return this.#keys.current(this.#timeout);
  }
}

class SharedSessions implements SessionHandler {
  readonly #cache: SessionCache;
  readonly #timeout: number;

  constructor(cache: SessionCache, timeout: number) {
    this.#cache = cache;
    this.#timeout = timeout;
  }

  /** ngx_ssl_new_session */
  onNewSession(connection: SslConnection, session: bigint): void {
    // OpenSSL tells of such sessions too, although nobody will ask for them.
    if (isKeptInTicket(connection)) return;
    const encoded = encodeSession(session, MAX_SESSION);
    if (encoded !== undefined) this.#cache.store(sessionId(session), encoded, this.#timeout);
  }

  /** ngx_ssl_get_cached_session */
  findSession(id: string): bigint {
    const length = this.#cache.find(id, encodedSpace());
    return length === 0 ? 0n : decodeEncoded(length);
  }

  removeSession(id: string): void {
    this.#cache.remove(id);
  }
}
