import type { Directives, Scope, Specs } from "../config/schema.ts";
import { ConfigError } from "../config/types.ts";
import type { Application, Cycle, HostWanted, Program } from "../runtime/cycle.ts";
import { upstream, upstreamDefinitions, upstreamHosts, upstreamKeepalive } from "../upstream/directives.ts";
import { buildAddresses, listenHosts } from "./addresses.ts";
import { buildHttp } from "./build.ts";
import { configureArguments } from "./configure.ts";
import { blockDirectives, coreDirectives } from "./core_directives.ts";
import { httpModules } from "./registry.ts";
import { serverDirectives } from "./server_directives.ts";
import { HttpService } from "./service.ts";
import { COUNTER, MAX_WORKERS } from "./site.ts";

export const httpTables: readonly Directives<Specs>[] = [
  blockDirectives,
  serverDirectives,
  coreDirectives,
  upstream,
  upstreamKeepalive,
  ...httpModules.map((module) => module.directives),
];

export function httpScope(root: Scope): Scope | undefined {
  return root.children.find((child) => child.context === "http");
}

export function httpHosts(root: Scope): HostWanted[] {
  const http = httpScope(root);
  if (http === undefined) return [];
  return [...listenHosts(http), ...upstreamHosts(upstreamDefinitions(root).values())];
}

export function buildApplication(cycle: Cycle): Application {
  const scope = httpScope(cycle.root);
  const zone = cycle.zone("http counters", MAX_WORKERS * COUNTER.words * 4);
  const http = scope === undefined ? undefined : buildHttp(scope, cycle, httpModules);
  const addresses = http === undefined ? [] : buildAddresses(http, cycle);
  return {
    listeners: addresses.map(({ spec }) => spec),
    logFiles: [],
    directories: [],
    serve(worker, previous) {
      if (worker.index >= MAX_WORKERS) throw new ConfigError(`more than ${MAX_WORKERS} workers`);
      const words = new Int32Array(zone, worker.index * COUNTER.words * 4, COUNTER.words);
      // A worker that died took its connections with it; what it has served still counts.
      if (previous === undefined) words.fill(0, COUNTER.active, COUNTER.waiting + 1);
      return new HttpService(addresses, worker, { words }, previous, http?.upstreams);
    },
    watch() {
      return { stop() {}, reopen() {} };
    },
  };
}

export function httpProgram(): Program {
  return {
    directives: httpTables,
    configureArguments: configureArguments(httpTables),
    hosts: httpHosts,
    build: buildApplication,
  };
}
