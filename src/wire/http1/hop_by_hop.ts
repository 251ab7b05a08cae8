import { FieldSet } from "./field_set.ts";

/**
 * Fields that belong to one connection, or say how one message is framed there (RFC 9110 section 7.6.1, RFC 9112 section
 * 6): none is passed on in any kind of message, request, informational or final response, or trailer, but for the Upgrade
 * of a final response. What of them the other side is to see is written anew. Lower case.
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
 * What has no meaning behind a body, or would change what was said before it: framing, routing, authentication, cookies,
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
 * Whether a name out of the configuration is that of the framing, also where somebody reads `Content-Length:` or
 * `Content-Length ` as that: the framing sent is always the body's own.
 */
export function namesFraming(name: string): boolean {
  const key = /^\s*([!-9;-~]*)/.exec(name)?.[1].toLowerCase();
  return key === "content-length" || key === "transfer-encoding";
}
