import { FieldSet } from "./field_set.ts";

/**
 * Fields that concern one connection, or the framing of a message on it (RFC 9110 section 7.6.1, RFC 9112 section 6).
 * They are not passed on in any message: request, informational or final response, or trailer, except Upgrade in a
 * final response. The values for the other connection are generated. Lower case.
 */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "proxy-connection",
  "keep-alive",
  "te",
  "transfer-encoding",
  "content-length",
  "upgrade",
]);

export const CONNECTION_FIELDS = new FieldSet(HOP_BY_HOP);

/**
 * Fields that are not allowed in trailers: framing, routing, authentication, cookies,
 * the control of a response and the shape of its content (RFC 9110 section 6.5.1, RFC 7230 section 4.1.2).
 */
export const NO_TRAILERS = new FieldSet([
  ...HOP_BY_HOP,
  "trailer",
  "host",
  "authorization",
  "proxy-authorization",
  "www-authenticate",
  "proxy-authenticate",
  "set-cookie",
  "age",
  "cache-control",
  "date",
  "expires",
  "location",
  "retry-after",
  "vary",
  "warning",
  "content-encoding",
  "content-range",
  "content-type",
]);

/**
 * Whether a name in the configuration is Content-Length or Transfer-Encoding, or could be parsed as one
 * (`Content-Length:`, `Content-Length `): the framing sent is always that of the actual body.
 */
export function namesFraming(name: string): boolean {
  const key = /^\s*([!-9;-~]*)/.exec(name)?.[1].toLowerCase();
  return key === "content-length" || key === "transfer-encoding";
}
