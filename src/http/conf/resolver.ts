import { directive, msec } from "../../config/directives.ts";
import { fail, type Scope, scopesThatSet, valueIn } from "../../config/schema.ts";
import { ConfigError, type Directive } from "../../config/types.ts";
import { parseSec } from "../../config/values.ts";
import { parseUrl, type Target, targetAddresses } from "../../net/parse_url.ts";
import { Resolver } from "../../net/resolver.ts";
import type { HostWanted } from "../../runtime/application.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import type { Location } from "../core/location.ts";
import { HTTP_LOCATION } from "./contexts.ts";
import { defineModule, type HttpBuild } from "./module.ts";

const DNS_PORT = 53;

/** One `resolver` directive. All blocks it applies to share the resolver and its cache. */
interface ResolverSetting {
  readonly servers: readonly { readonly written: string; readonly target: Target }[];
  /** ms; 0: as long as the answers say. */
  readonly valid: number;
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly at: Directive;
}

const resolverDirective = directive<ResolverSetting, undefined>({
  in: [...HTTP_LOCATION, "upstream"],
  args: [1, Number.POSITIVE_INFINITY],
  syntax: "address ... [valid=time] [ipv4=on|off] [ipv6=on|off]",
  doc: "The name servers asked in turn for names that appear only while serving, such as a proxy_pass with variables, and for those of servers with `resolve`. Answers are kept as long as they say, or as long as `valid`.",
  initial: () => undefined,
  read: readResolver,
});

const timeoutDirective = msec({
  in: [...HTTP_LOCATION, "upstream"],
  default: 30_000,
  doc: "How long finding a name's addresses may take.",
});

function readResolver(at: Directive): ResolverSetting {
  const servers: { written: string; target: Target }[] = [];
  let valid = 0;
  let ipv4 = true;
  let ipv6 = true;
  for (const word of at.args) {
    if (word.startsWith("valid=")) {
      const seconds = parseSec(word.slice(6));
      if (seconds === undefined) fail(at, `invalid parameter: ${word}`);
      valid = seconds * 1000;
    } else if (word.startsWith("ipv4=")) ipv4 = onOff(at, word);
    else if (word.startsWith("ipv6=")) ipv6 = onOff(at, word);
    else {
      const target = parseUrl(word, DNS_PORT);
      if (typeof target === "string") fail(at, `${target} in resolver "${word}"`);
      servers.push({ written: word, target });
    }
  }
  if (!ipv4 && !ipv6) fail(at, '"ipv4" and "ipv6" cannot both be "off"');
  if (servers.length === 0) fail(at, "no name servers defined");
  return { servers, valid, ipv4, ipv6, at };
}

function onOff(at: Directive, word: string): boolean {
  const value = word.slice(5);
  if (value !== "on" && value !== "off") fail(at, `invalid parameter: ${word}`);
  return value === "on";
}

/** A location's settings. */
interface Resolving {
  readonly resolver: Resolver | undefined;
  /** ms */
  readonly timeout: number;
}

const made = new WeakMap<ResolverSetting, Resolver>();

export const resolver = defineModule({
  name: "http_resolver",
  directives: {
    resolver: resolverDirective,
    resolver_timeout: timeoutDirective,
  },
  hosts: wantedHosts,
  build({ resolver: setting, resolver_timeout: timeout }, { http, location }): Resolving {
    return { resolver: setting && resolverOf(setting, http.cycle, location.errorLog), timeout };
  },
});

function resolverOf(setting: ResolverSetting, cycle: Cycle, errorLog: ErrorLog): Resolver {
  const known = made.get(setting);
  if (known !== undefined) return known;
  const servers = setting.servers.flatMap(({ written, target }) => {
    const found = targetAddresses(target, cycle.data.hosts);
    if (found.length === 0) throw new ConfigError(hostNotFound(written), setting.at);
    return found;
  });
  const { valid, ipv4, ipv6 } = setting;
  const log = (message: string): void => errorLog.write("error", message);
  const fresh = new Resolver({ servers, valid, ipv4, ipv6, log });
  made.set(setting, fresh);
  return fresh;
}

function hostNotFound(written: string): string {
  return `host not found in resolver "${written}"`;
}

/** Name servers given by name are looked up when the configuration is loaded. */
function wantedHosts(http: Scope): HostWanted[] {
  const wanted: HostWanted[] = [];
  for (const scope of scopesThatSet(http, resolverDirective)) {
    const setting = valueIn(scope, resolverDirective);
    if (setting === undefined) continue;
    const { file, line } = setting.at;
    for (const { written, target } of setting.servers) {
      if (!("family" in target)) wanted.push({ host: target.host, file, line, error: hostNotFound(written) });
    }
  }
  return wanted;
}

/** The settings that names are resolved with where no location is: those of the http block. */
export function resolvingIn({ scope, cycle }: HttpBuild, errorLog: ErrorLog): Resolving {
  const setting = valueIn(scope, resolverDirective);
  return { resolver: setting && resolverOf(setting, cycle, errorLog), timeout: valueIn(scope, timeoutDirective) };
}

/** What the names of an upstream's servers are resolved with. `block` is the upstream's. */
export function resolvingInUpstream(block: Scope, cycle: Cycle, log: ErrorLog): Resolving {
  const setting = valueIn(block, resolverDirective);
  return { resolver: setting && resolverOf(setting, cycle, log), timeout: valueIn(block, timeoutDirective) };
}

/** The settings that names are resolved with in a location. */
export function resolvingOf(location: Location): Resolving {
  return resolver.of(location);
}
