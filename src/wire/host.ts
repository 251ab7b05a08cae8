/**
 * Validates a host with optional port, from a Host field, an authority or a configuration, and normalizes it for
 * comparison with server names: lower case, no port, no trailing dot (ngx_http_validate_host).
 */

const LOWER = 1;
const UPPER = 2;
const OTHER = 3;
const PERCENT = 4;
const DOT = 5;
const COLON = 6;

const KIND = new Uint8Array(256);
for (let c = 0x61; c <= 0x7a; c++) KIND[c] = LOWER;
for (let c = 0x30; c <= 0x39; c++) KIND[c] = LOWER;
for (let c = 0x41; c <= 0x5a; c++) KIND[c] = UPPER;
for (const char of "-_~!$&'()*+,;=") KIND[char.charCodeAt(0)] = OTHER;
KIND[0x25] = PERCENT;
KIND[0x2e] = DOT;
KIND[0x3a] = COLON;

/** The result of `validateHost`. */
export interface HostPort {
  host: string;
  /** 0 when none was given. */
  port: number;
}

/** Fills `into`; false if the text is not a valid host. */
export function validateHost(text: string, into: HostPort): boolean {
  const length = text.length;
  let hostLength = length;
  let dot = -2;
  let upper = false;
  let port = 0;
  let i = 0;
  const literal = length > 0 && text.charCodeAt(0) === 0x5b;
  if (literal) i = 1;
  let closed = false;
  let inPort = false;
  for (; i < length; i++) {
    const code = text.charCodeAt(i);
    if (inPort) {
      if (code < 0x30 || code > 0x39) return false;
      port = port * 10 + (code - 0x30);
      if (port > 65535) return false;
      continue;
    }
    if (closed) {
      if (code !== 0x3a) return false;
      inPort = true;
      continue;
    }
    switch (code < 256 ? KIND[code] : 0) {
      case LOWER:
      case OTHER:
        continue;
      case UPPER:
        upper = true;
        continue;
      case PERCENT:
        if (literal) return false;
        continue;
      case DOT:
        if (dot === i - 1) return false;
        dot = i;
        continue;
      case COLON:
        if (literal) continue;
        hostLength = i;
        inPort = true;
        continue;
      default:
        if (!literal || code !== 0x5d) return false;
        hostLength = i + 1;
        closed = true;
    }
  }
  if (literal && !closed) return false;
  if (dot === hostLength - 1) hostLength--;
  if (hostLength <= 0) return false;
  const host = hostLength === length ? text : text.substring(0, hostLength);
  into.host = upper ? host.toLowerCase() : host;
  into.port = port;
  return true;
}
