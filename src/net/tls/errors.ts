import { clearErrors, hasErrors, lastReason, takeErrors } from "../../sys/openssl/errors.ts";
import { SSL_ERROR_SSL, SSL_ERROR_ZERO_RETURN } from "../../sys/openssl/ssl.ts";
import type { StreamError } from "../stream.ts";

/** Failures of TLS as errors of a stream (ngx_ssl_connection_error). */

/** SSL_R_… of <openssl/sslerr.h> that peers cause, and that are therefore no [crit]; above 1000 are the peer's alerts. */
const OF_PEERS: ReadonlySet<number> = new Set([
  101, 102, 103, 108, 110, 111, 112, 115, 118, 122, 129, 133, 137, 145, 146, 149, 150, 151, 152, 154, 155, 156, 159,
  160, 182, 183, 186, 187, 193, 198, 205, 213, 220, 226, 227, 234, 235, 244, 245, 246, 252, 253, 256, 258, 266, 267,
  270, 271, 281, 291, 292, 293, 298, 300, 306, 313, 335, 336, 337, 338, 339, 345, 373, 376, 377, 396, 409, 443,
]);
const ALERTS = 1000;
const LAST_ALERT = 1255;

export const PEER_CLOSED = "peer closed connection in SSL handshake";

/** The peer closed the connection, and did so rightly as far as TLS is concerned. */
export function isCleanEnd(error: number): boolean {
  return error === SSL_ERROR_ZERO_RETURN || !hasErrors();
}

/** Takes the errors in the queue after `call` failed with an SSL_ERROR. */
export function tlsError(call: string, error: number): StreamError {
  const reason = error === SSL_ERROR_SSL ? lastReason() : 0;
  const byPeer = OF_PEERS.has(reason) || (reason >= ALERTS && reason <= LAST_ALERT);
  const sentence = `${call} failed${takeErrors()}`;
  clearErrors();
  return { code: "EPROTO", message: sentence, sentence, crit: !byPeer };
}
