import { hostNotFound } from "../../balancer/definition.ts";
import { type DirectiveSpec, type Scope, scopesThatSet, valueIn } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { parseUrl } from "../../net/parse_url.ts";
import { resolutionText } from "../../net/resolution.ts";
import type { Resolution } from "../../net/resolver.ts";
import type { HostWanted } from "../../runtime/application.ts";
import { boundary } from "../../sys/guard.ts";
import { resolvingOf } from "../conf/resolver.ts";
import type { Unresolved, UpstreamEntry, Upstreams } from "../conf/upstreams.ts";
import { finalizeRequest } from "../core/engine.ts";
import { logClientGone, logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import type { UpstreamSettings } from "./settings.ts";
import { markEmptyPassage } from "./variables.ts";

/** Resolves the host in a …_pass with variables and calls `then`, perhaps at once; answers 502 if it has no address. */
export function resolveHost(
  request: Request,
  settings: UpstreamSettings,
  upstreams: Upstreams,
  { host, port }: Unresolved,
  then: (upstream: UpstreamEntry) => void,
): void {
  const { resolver, timeout } = resolvingOf(request.location);
  if (resolver === undefined) {
    logError(request, "error", `no resolver defined to resolve ${host}`);
    unresolved(request);
    return;
  }
  const done = boundary(request, (result: Resolution): void => {
    request.onAbort = undefined;
    if (request.finalized) return;
    if ("addresses" in result) {
      then(upstreams.resolved(host, port, result.addresses));
      return;
    }
    const { state } = result;
    logError(request, "error", `${host} could not be resolved (${state}: ${resolutionText(state)})`);
    unresolved(request);
  });
  request.upstream = undefined;
  const lookup = resolver.resolve(host, timeout, done);
  if (lookup.over) return;
  request.cleanup ??= [];
  request.cleanup.push(() => lookup.cancel());
  if (settings.ignoreClientAbort) return;
  request.onAbort = () => {
    lookup.cancel();
    logClientGone(request);
    finalizeRequest(request, 499);
  };
}

function unresolved(request: Request): void {
  request.upstream = undefined;
  markEmptyPassage(request);
  finalizeRequest(request, 502);
}

/** The address in a …_pass without variables. */
export interface PassedHost {
  /** `host[:port]`, or the name of an upstream. */
  readonly host: string;
  readonly defaultPort: number;
  readonly at: Directive;
}

/**
 * The hosts in …_pass directives, to be looked up when the configuration is loaded. `passOf`: what one that is set is to; undefined
 * where it has variables.
 */
export function passedHosts<P>(
  http: Scope,
  spec: DirectiveSpec<P | undefined>,
  passOf: (pass: P) => PassedHost | undefined,
): HostWanted[] {
  const groups = new Set(
    http.children
      .filter(({ context }) => context === "upstream")
      .map(({ directive }) => directive.args[0].toLowerCase()),
  );
  const wanted: HostWanted[] = [];
  for (const scope of scopesThatSet(http, spec)) {
    const set = valueIn(scope, spec);
    const pass = set === undefined ? undefined : passOf(set);
    const wants = pass === undefined ? undefined : hostWanted(pass, groups);
    if (wants !== undefined) wanted.push(wants);
  }
  return wanted;
}

function hostWanted({ host: url, defaultPort, at }: PassedHost, groups: ReadonlySet<string>): HostWanted | undefined {
  const target = parseUrl(url, defaultPort);
  if (typeof target === "string" || "family" in target || groups.has(target.host.toLowerCase())) return undefined;
  const { host, port } = target;
  // It is refused for that alone.
  if (port === 0) return undefined;
  const { file, line } = at;
  return { host, file, line, error: hostNotFound(host), stage: "complete" };
}
