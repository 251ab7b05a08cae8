import { upstream, upstreamDefinitions, upstreamHosts, upstreamKeepalive } from "../../balancer/directives.ts";
import type { Group } from "../../balancer/group.ts";
import { refusalsOf } from "../../config/errors.ts";
import type { Directives, Scope, Specs } from "../../config/schema.ts";
import { ConfigError } from "../../config/types.ts";
import {
  type Application,
  type CheckerService,
  type HostWanted,
  MAX_WORKERS,
  type Program,
} from "../../runtime/application.ts";
import type { Command } from "../../runtime/control/protocol.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import type { Sliced } from "../../sys/sliced.ts";
import { COUNTER, COUNTERS } from "../core/counters.ts";
import { HttpService } from "../server/service.ts";
import { buildSockets, listenHosts, refuseDuplicates } from "./addresses.ts";
import { buildHttp } from "./build.ts";
import { configureArguments } from "./configure.ts";
import { blockDirectives, coreDirectives } from "./core_directives.ts";
import { http2Directives } from "./http2_directives.ts";
import type { CheckerShare, HttpModule, LetGo, MasterShare, WorkerShare } from "./module.ts";
import { httpModules } from "./registry.ts";
import { serverDirectives } from "./server_directives.ts";

/** What layers above http add: modules, directives, and the checker's work on upstreams. */
export interface HttpExtension {
  readonly modules: readonly HttpModule[];
  readonly tables: readonly Directives<Specs>[];
  /** Called in every process that builds a cycle, with its upstreams. */
  readonly open: (cycle: Cycle, upstreams: readonly Group[]) => readonly Shares[];
}

/** What something has to do in the processes of a configuration, whether that has an http block or not. */
export interface Shares {
  readonly masters?: readonly MasterShare[];
  readonly workers?: readonly WorkerShare[];
  readonly checkers?: readonly CheckerShare[];
  /** What the checker answers at the control socket, by the name of the command. */
  readonly commands?: ReadonlyMap<string, Command>;
}

/** All that runs in the checker: of `HttpExtension.open`, and of modules. */
class CheckerServices implements CheckerService {
  readonly #byName = new Map<string, CheckerService>();

  constructor(shares: readonly CheckerShare[], previous: CheckerService | undefined) {
    const before = new Map(previous instanceof CheckerServices ? previous.#byName : []);
    for (const share of shares) {
      this.#byName.set(share.name, share.check(before.get(share.name)));
      before.delete(share.name);
    }
    for (const service of before.values()) service.stop();
  }

  stop(): void {
    for (const service of this.#byName.values()) service.stop();
  }
}

const tables: readonly Directives<Specs>[] = [
  blockDirectives,
  serverDirectives,
  coreDirectives,
  http2Directives,
  upstream,
  upstreamKeepalive,
];

export function httpScope(root: Scope): Scope | undefined {
  return root.children.find((child) => child.context === "http");
}

function httpHosts(root: Scope): HostWanted[] {
  const http = httpScope(root);
  if (http === undefined) return [];
  const ofModules = httpModules.flatMap(({ definition }) => definition.hosts?.(http) ?? []);
  return [...listenHosts(http), ...upstreamHosts(upstreamDefinitions(root).values()), ...ofModules];
}

function* buildApplication(
  cycle: Cycle,
  modules: readonly HttpModule[],
  extension: HttpExtension,
): Sliced<Application> {
  const scope = httpScope(cycle.root);
  const counters = cycle.zone(COUNTERS).words;
  const countersOf = (slot: number) => counters.subarray(slot * COUNTER.words, (slot + 1) * COUNTER.words);
  const http = scope === undefined ? undefined : yield* buildHttp(scope, cycle, modules);
  const sockets = (http && refusalsOf(cycle.root).attempt(() => buildSockets(http, cycle), "complete")) ?? [];
  const listeners = http?.listeners ?? [];
  refusalsOf(cycle.root).attempt(() => refuseDuplicates(sockets, listeners), "complete");
  yield;
  const groups = [...(http?.upstreams.byName.values() ?? [])].map(({ group }) => group);
  const shares: readonly Shares[] = [...extension.open(cycle, groups), ...(http === undefined ? [] : [http])];
  const checkers = shares.flatMap((share) => share.checkers ?? []);
  const masters = shares.flatMap((share) => share.masters ?? []);
  const workers = shares.flatMap((share) => share.workers ?? []);
  return {
    listeners: [...sockets, ...listeners].map(({ spec }) => spec),
    logFiles: [...(http?.logFiles ?? [])],
    directories: [...(http?.directories ?? [])],
    serve(worker, previous) {
      if (worker.slot >= MAX_WORKERS) throw new ConfigError(`more than ${MAX_WORKERS} workers`);
      for (const share of workers) share.enter(worker.slot, worker.count);
      const serving = (): void => {
        for (const share of workers) share.serving?.(worker.slot, worker.count, letGo);
      };
      const retiring = (): void => {
        for (const share of workers) share.retiring?.();
      };
      const calls = { serving, retiring };
      const counters = countersOf(worker.slot);
      const service = new HttpService(sockets, listeners, worker, counters, previous, http?.upstreams, calls);
      const letGo = (how: LetGo): void => service.letGo(how);
      return service;
    },
    prepare: (doors) => masters.flatMap((share) => share.prepare(doors) ?? []),
    reading() {
      for (const share of masters) share.reading?.();
    },
    test() {
      for (const share of masters) share.test?.();
    },
    async announce() {
      await Promise.all(masters.map((share) => share.announce?.()));
    },
    giveUp() {
      for (const share of masters) share.giveUp?.();
    },
    leave(shared) {
      for (const share of masters) share.leave(shared);
    },
    forget(slot) {
      // A worker beyond MAX_WORKERS has not served, and so has not counted anything.
      if (slot >= MAX_WORKERS) return;
      // Its connections are gone, so the gauges become 0; the totals (accepted, handled, requests) stay.
      countersOf(slot).fill(0, COUNTER.active, COUNTER.waiting + 1);
      for (const group of groups) group.forget(slot);
      for (const share of workers) share.forget(slot);
    },
    commands: new Map(shares.flatMap((share) => [...(share.commands ?? [])])),
    check: (previous) => new CheckerServices(checkers, previous),
  };
}

export function httpProgram(extension: HttpExtension): Program {
  const modules = [...httpModules, ...extension.modules];
  const directives = [...tables, ...extension.tables, ...modules.map((module) => module.directives)];
  return {
    directives,
    configureArguments: [
      ...new Set([
        ...modules.flatMap(({ configure }) => (configure === undefined ? [] : [configure])),
        ...configureArguments(directives),
      ]),
    ],
    tls: true,
    hosts: httpHosts,
    build: (cycle) => buildApplication(cycle, modules, extension),
  };
}
