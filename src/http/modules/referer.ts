import os from "node:os";
import { directive, failAtEnd, number } from "../../config/directives.ts";
import { fail, ownValue, type Scope } from "../../config/schema.ts";
import { ConfigError, type Directive } from "../../config/types.ts";
import { type CompiledRegex, compileRegex, RegexMatchError } from "../../regex/regex.ts";
import { lowercase } from "../../wire/latin1.ts";
import { defineModule, type HttpModule } from "../conf/module.ts";
import { serverDirectives } from "../conf/server_directives.ts";
import { parseServerName } from "../conf/server_names.ts";
import { addWildcardKey, findWildcard, newWildcardHash, type WildcardHash } from "../conf/wildcard_hash.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";

/** A host, and what the URI behind it must begin with, "" for any. */
interface Referer {
  readonly host: string;
  readonly uri: string;
}

/** The `valid_referers` of one block. */
interface OwnReferers {
  none: boolean;
  blocked: boolean;
  serverNames: boolean;
  readonly hosts: Referer[];
  readonly hash: WildcardHash<Referer>;
  readonly regexes: CompiledRegex[];
}

const CONTEXTS = ["server", "location"] as const;

const specs = {
  valid_referers: directive<OwnReferers | undefined>({
    in: CONTEXTS,
    args: [1, Number.POSITIVE_INFINITY],
    syntax: "none | blocked | server_names | string …",
    doc: "The referers for which `$invalid_referer` is empty; it is `1` for others. `none`: a request without the field; `blocked`: a value that begins with no `http://` or `https://`; `server_names`: the names of the server. A string is a host, perhaps with a wildcard as in `server_name`, and perhaps the beginning of a URI; `~regex` is compared with what stands behind the scheme, whatever the case.",
    initial: () => undefined,
    repeat: true,
    read(at, _, previous) {
      const referers = previous ?? {
        ...{ none: false, blocked: false, serverNames: false },
        ...{ hosts: [], hash: newWildcardHash<Referer>(), regexes: [] },
      };
      for (const arg of at.args) readReferer(referers, at, arg);
      return referers;
    },
  }),
  referer_hash_max_size: number({
    in: CONTEXTS,
    doc: "Accepted for compatibility: the tables of referers grow by themselves.",
    defaultText: "2048",
  }),
  referer_hash_bucket_size: number({
    in: CONTEXTS,
    doc: "Accepted for compatibility: the tables of referers grow by themselves.",
    defaultText: "64",
  }),
};

function readReferer(referers: OwnReferers, at: Directive, arg: string): void {
  switch (arg) {
    case "":
      fail(at, `invalid referer "${arg}"`);
      break;
    case "none":
      referers.none = true;
      return;
    case "blocked":
      referers.blocked = true;
      return;
    case "server_names":
      referers.serverNames = true;
      return;
  }
  if (arg.startsWith("~")) {
    if (arg === "~") fail(at, `empty regex in "${arg}"`);
    const regex = compileRegex(arg.slice(1), true);
    if ("error" in regex) fail(at, regex.error);
    referers.regexes.push(regex);
    return;
  }
  const slash = arg.indexOf("/");
  const referer = slash < 0 ? { host: arg, uri: "" } : { host: arg.slice(0, slash), uri: arg.slice(slash) };
  const error = addReferer(referers.hash, referer);
  if (error !== undefined) fail(at, error);
  referers.hosts.push(referer);
}

/** Returns an error. */
function addReferer(hash: WildcardHash<Referer>, referer: Referer): string | undefined {
  const { host } = referer;
  const added = addWildcardKey(hash, host, referer);
  if (added === "invalid") return `invalid hostname or wildcard "${host}"`;
  return added === "conflict" ? `conflicting parameter "${lowercase(host)}"` : undefined;
}

/** What is in force in a location. */
interface Referers {
  readonly none: boolean;
  readonly blocked: boolean;
  /** Undefined: every referer is valid. */
  readonly hash: WildcardHash<Referer> | undefined;
  readonly serverNames: readonly CompiledRegex[];
  readonly regexes: readonly CompiledRegex[];
}

const ANY: Referers = { none: false, blocked: false, hash: undefined, serverNames: [], regexes: [] };

/** ngx_http_referer_module: whether a request comes from a page of a site that may refer to this one. */
export const referer: HttpModule<Referers> = defineModule({
  name: "http_referer",
  directives: specs,
  variables: { invalid_referer: { get: invalidReferer, cached: true, changeable: true } },
  build(_, { http, scope, parent }): Referers {
    const outer = parent === undefined ? ANY : referer.of(parent);
    const own = ownValue(scope, specs.valid_referers);
    if (own === undefined) return outer;
    const hash = newWildcardHash<Referer>();
    for (const host of own.hosts) addReferer(hash, host);
    const serverNames: CompiledRegex[] = [];
    if (own.serverNames) addServerNames(scope, http.scope, hash, serverNames);
    const hosts = hash.taken.size + hash.heads.size + hash.tails.size;
    if ((own.none || own.blocked) && hosts === 0) {
      throw new ConfigError(
        'the "none" or "blocked" referers are specified in the "valid_referers" directive without any valid referer',
      );
    }
    return {
      none: own.none,
      blocked: own.blocked,
      hash,
      // As in nginx, regexes of an outer level count where there are none here.
      serverNames: serverNames.length > 0 ? serverNames : outer.serverNames,
      regexes: own.regexes.length > 0 ? own.regexes : outer.regexes,
    };
  },
});

function addServerNames(scope: Scope, http: Scope, hash: WildcardHash<Referer>, regexes: CompiledRegex[]): void {
  let server = scope;
  while (server.context !== "server" && server.parent !== undefined) server = server.parent;
  const written = serverDirectives.in(server).server_name.flatMap(({ args }) => args);
  for (const name of written.length === 0 ? [""] : written) {
    const parsed = parseServerName(name, os.hostname());
    // Those that are wrong have been refused before.
    if ("error" in parsed) continue;
    const { serverName } = parsed;
    if (serverName.regex !== undefined) {
      regexes.push(serverName.regex);
      continue;
    }
    const error = addReferer(hash, { host: serverName.name, uri: "" });
    if (error !== undefined) failAtEnd(http, error);
  }
}

const SCHEME = /^https?:\/\//i;
/** A value that is shorter has no scheme for nginx. */
const SHORTEST = "http://i.ru".length;
const LONGEST_HOST = 256;

/** $invalid_referer */
function invalidReferer(request: Request): string | undefined {
  const { none, blocked, hash, serverNames, regexes } = referer.of(request.location);
  if (hash === undefined) return "";
  const field = request.headers.get("referer");
  if (field === undefined) return none ? "" : "1";
  const scheme = field.length < SHORTEST ? null : SCHEME.exec(field);
  if (scheme === null) return blocked ? "" : "1";
  const rest = field.slice(scheme[0].length);
  const end = rest.search(/[/:]/);
  const host = lowercase(end < 0 ? rest : rest.slice(0, end));
  if (host.length > LONGEST_HOST) return "1";
  const known = findWildcard(hash, host);
  if (known !== undefined) {
    const slash = rest.indexOf("/", host.length);
    return known.uri === "" || (slash >= 0 && rest.startsWith(known.uri, slash)) ? "" : "1";
  }
  try {
    for (const regex of serverNames) if (regex.test(host)) return "";
    for (const regex of regexes) if (regex.test(rest)) return "";
  } catch (error) {
    if (!(error instanceof RegexMatchError)) throw error;
    logError(request, "alert", error.message);
    return undefined;
  }
  return "1";
}
