import { headText } from "../../../wire/head_text.ts";
import type { UpstreamEntry } from "../../conf/upstreams.ts";
import type { PassedTo } from "../../core/upstream.ts";
import type { TlsChoice } from "../../upstream/tls.ts";

/** The scheme of a URL. */
export interface Scheme {
  /** As written: `https://`. */
  readonly scheme: string;
  readonly secure: boolean;
  readonly defaultPort: number;
}

/** The target of a proxy_pass without variables. */
export interface FixedPass extends PassedTo, Scheme {
  /** The address part as written. */
  readonly host: string;
  /** From the first slash on; "" without. */
  readonly uri: string;
  readonly upstream: UpstreamEntry;
  /** What follows the URI in request heads up to Host, if it is the same for all requests (request_head.ts). */
  opening: string | undefined;
  /** What TLS to it is, if that is the same for all requests. */
  tls: TlsChoice | undefined;
}

/** Undefined where it is none that proxy_pass has. */
export function schemeOf(url: string): Scheme | undefined {
  const scheme = /^https?:\/\//i.exec(url)?.[0];
  if (scheme === undefined) return undefined;
  const secure = scheme.length > "http://".length;
  return { scheme, secure, defaultPort: secure ? 443 : 80 };
}

/** Splits `host:port/uri`; a unix socket's path ends at the second colon. */
export function splitUrl(text: string): { host: string; uri: string } {
  if (/^unix:/i.test(text)) {
    const colon = text.indexOf(":", 5);
    return colon < 0 ? { host: text, uri: "" } : { host: text.slice(0, colon), uri: text.slice(colon + 1) };
  }
  const slash = text.search(/[/?]/);
  if (slash < 0) return { host: text, uri: "" };
  const uri = text.slice(slash);
  return { host: text.slice(0, slash), uri: uri.startsWith("?") ? `/${uri}` : uri };
}

/** $proxy_host and $proxy_port: the scheme's default port is left out of the first, not of the second. */
export function passedTo(host: string, { defaultPort }: Scheme): PassedTo {
  if (/^unix:/i.test(host)) return { hostHeader: headText("localhost"), port: "" };
  const match = /^(.*):(\d+)$/.exec(host);
  if (match === null) return { hostHeader: headText(host), port: String(defaultPort) };
  const port = Number(match[2]);
  return { hostHeader: headText(port === defaultPort ? match[1] : host), port: String(port) };
}
