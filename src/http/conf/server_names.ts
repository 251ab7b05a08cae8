import { type CompiledRegex, compileRegex } from "../../regex/regex.ts";
import { lowercase } from "../../wire/latin1.ts";
import { addWildcardKey, findWildcard, newWildcardHash, type WildcardHash } from "./wildcard_hash.ts";

/** Finds the server of a request's host, among those of one listening address. */

/** One argument of `server_name`. */
export interface ServerName {
  /** In lower case; for a regex, the pattern without `~`. */
  readonly name: string;
  readonly regex?: CompiledRegex;
}

export interface ParsedServerName {
  readonly serverName: ServerName;
  /** A warning, without file and line. */
  readonly warning?: string;
}

/**
 * Reads one argument of `server_name`. `hostname` is the machine's name, for `$hostname`. Errors are in nginx's words.
 */
export function parseServerName(arg: string, hostname: string): ParsedServerName | { readonly error: string } {
  if ((arg.startsWith("*") && (arg.length < 3 || arg[1] !== ".")) || arg === ".") {
    return { error: `server name "${arg}" is invalid` };
  }
  const warning = arg.includes("/") ? `server name "${arg}" has suspicious symbols` : undefined;
  if (!arg.startsWith("~")) {
    const name = lowercase(lowercase(arg) === "$hostname" ? hostname : arg);
    return { serverName: { name }, warning };
  }
  if (arg === "~") return { error: `empty regex in server name "${arg}"` };
  const pattern = arg.slice(1);
  // Like nginx: a pattern with a capital letter ignores case, since hosts are compared in lower case.
  const regex = compileRegex(pattern, /[A-Z]/.test(pattern));
  if ("error" in regex) return regex;
  return { serverName: { name: pattern, regex }, warning };
}

/** The value of $server_name: the first name, without a leading dot; a regex as written. "" when there is none. */
export function primaryServerName(names: readonly ServerName[]): string {
  const first = names.at(0);
  if (first === undefined) return "";
  if (first.regex !== undefined) return `~${first.name}`;
  return first.name.startsWith(".") ? first.name.slice(1) : first.name;
}

export interface NamedServer<S> {
  readonly server: S;
  /** Empty for a server without `server_name`, which answers to "" as in nginx. */
  readonly names: readonly ServerName[];
}

export interface ServerNames<S> {
  readonly defaultServer: S;
  /** Undefined if every host gets the default server. */
  readonly hash: WildcardHash<S> | undefined;
  readonly regexes: readonly { readonly regex: CompiledRegex; readonly server: S }[];
}

/**
 * Builds the table of one address. `servers` are in the order of the configuration; `address` is nginx's text, for the
 * messages. A name that is taken already is ignored with a warning.
 */
export function buildServerNames<S>(
  servers: readonly NamedServer<S>[],
  defaultServer: S,
  address: string,
): { readonly names: ServerNames<S>; readonly warnings: readonly string[] } | { readonly error: string } {
  const warnings: string[] = [];
  const needsCaptures = servers.some(({ names }) =>
    names.some(({ regex }) => regex !== undefined && regex.captures > 0),
  );
  // With one server there is nothing to choose, and nginx does not even look at its names.
  if (servers.length <= 1 && !needsCaptures) {
    return { names: { defaultServer, hash: undefined, regexes: [] }, warnings };
  }
  const hash = newWildcardHash<S>();
  const regexes: { regex: CompiledRegex; server: S }[] = [];
  for (const { server, names } of servers) {
    for (const { name, regex } of names.length === 0 ? NO_NAME : names) {
      if (regex !== undefined) {
        regexes.push({ regex, server });
        continue;
      }
      switch (addWildcardKey(hash, name, server)) {
        case "invalid":
          return { error: `invalid server name or wildcard "${name}" on ${address}` };
        case "conflict":
          warnings.push(`conflicting server name "${name}" on ${address}, ignored`);
      }
    }
  }
  return { names: { defaultServer, hash, regexes }, warnings };
}

const NO_NAME: readonly ServerName[] = [{ name: "" }];

/**
 * The server that has the name of a host (lower case, without port or trailing dot; "" for none), if any. If a regex matched,
 * `captures` has its strings and `matched` is called, to set the variables of named groups. Throws RegexMatchError.
 */
export function matchServer<S>(
  names: ServerNames<S>,
  host: string,
  captures: string[],
  matched?: (regex: CompiledRegex, captures: readonly string[]) => void,
): S | undefined {
  if (names.hash === undefined) return undefined;
  const found = findWildcard(names.hash, host);
  if (found !== undefined) return found;
  if (host.length > 0) {
    for (const { regex, server } of names.regexes) {
      if (!regex.exec(host, captures)) continue;
      matched?.(regex, captures);
      return server;
    }
  }
  return undefined;
}

/** The same, or else the default server. */
export function findServer<S>(
  names: ServerNames<S>,
  host: string,
  captures: string[],
  matched?: (regex: CompiledRegex, captures: readonly string[]) => void,
): S {
  return matchServer(names, host, captures, matched) ?? names.defaultServer;
}
