import { startPhases } from "../core/engine.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { startWithBody } from "../core/request_body.ts";
import { judgeCertificate, PLAIN_REQUEST, type TlsRefusal } from "./client_certificate.ts";

/** What the log says of a request for another server than TLS was agreed on with. */
export const MISDIRECTED = "client attempted to request the server name different from the one that was negotiated";

/** ngx_http_process_request: what came in on `listen … ssl` has to be encrypted, and maybe a client known. */
export function tlsRefusal({ connection: { tls, secure }, server }: Request): TlsRefusal | undefined {
  if (!secure) return undefined;
  if (tls === undefined) return PLAIN_REQUEST;
  const { verify } = server.tls;
  return verify === "off" ? undefined : judgeCertificate(tls, verify);
}

/** Says which fields of the head do not count; `host`: its own was read before them. */
export function logIgnored(request: Request, sentences: readonly string[], host = true): void {
  for (const sentence of sentences) logError(request, "info", `${sentence} while reading client request headers`, host);
}

/** Starts a request whose head is in order. */
export function startRequest(request: Request): void {
  const early = request.server.earlyBody;
  if (early === undefined || request.bodyEnded) startPhases(request);
  else startWithBody(request, early);
}
