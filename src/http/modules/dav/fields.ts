import { parseUnsafeUri } from "../../../wire/uri.ts";
import { type LogLine, logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";

/** The fields of RFC 4918 section 10, as nginx reads them. */

/** What a `Depth` field says. */
type Depth = "0" | "1" | "infinity" | "invalid";

/** Reads `Depth`; `absent` where there is none. */
export function readDepth(text: string | undefined, absent: Depth, log: LogLine): Depth {
  if (text === undefined) return absent;
  if (text === "0" || text === "1" || text === "infinity") return text;
  log("error", `client sent invalid "Depth" header: "${text}"`);
  return "invalid";
}

/** What `Overwrite` says, true where there is none; undefined if it is invalid, which was logged. */
export function readOverwrite(request: Request): boolean | undefined {
  const text = request.headers.get("overwrite") ?? "T";
  if (text === "T" || text === "t") return true;
  if (text === "F" || text === "f") return false;
  logError(request, "error", `client sent invalid "Overwrite" header: "${text}"`);
  return undefined;
}

/** The path of a `Destination` on this server, decoded; undefined if it is invalid, which was logged. */
export function readDestination(request: Request, text: string): string | undefined {
  const path = pathOf(request, text);
  if (path === undefined) return undefined;
  const parts = parseUnsafeUri(path);
  if (parts !== undefined && staysBelow(request, parts.uri)) return parts.uri;
  if (parts === undefined) logError(request, "error", `unsafe URI "${path}" was detected`);
  return invalid(request, text);
}

function pathOf(request: Request, text: string): string | undefined {
  if (text.startsWith("/")) return text;
  const { host } = request;
  if (host === "") {
    logError(request, "error", 'client sent no "Host" header');
    return undefined;
  }
  const scheme = request.connection.tls === undefined ? "http://" : "https://";
  if (!text.startsWith(scheme)) return invalid(request, text);
  if (!text.startsWith(host, scheme.length)) {
    const sentence = `"Destination" URI "${text}" is handled by different repository than the source URI`;
    logError(request, "error", sentence);
    return undefined;
  }
  const slash = text.indexOf("/", scheme.length + host.length);
  return slash < 0 ? invalid(request, text) : text.slice(slash);
}

function invalid(request: Request, text: string): undefined {
  logError(request, "error", `client sent invalid "Destination" header: "${text}"`);
  return undefined;
}

/**
 * An alias replaces as many characters as the location's name has, whichever they are: "/aaaa../x" in a location "/dav/" would
 * lead out of it.
 */
function staysBelow({ location }: Request, uri: string): boolean {
  const { alias } = location.core.root;
  if (alias <= 0) return true;
  return uri.length >= alias && !uri.startsWith("../", alias) && uri.slice(alias) !== "..";
}
