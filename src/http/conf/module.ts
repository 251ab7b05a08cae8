import { type Directives, defineDirectives, type Scope, type SettingsOf, type Specs } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import type { CheckerService, Doors, HostWanted, ListenSpec } from "../../runtime/application.ts";
import type { Command } from "../../runtime/control/protocol.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import type { HeaderFilterName } from "../core/filters.ts";
import type { Location, Server } from "../core/location.ts";
import type { VariableSpec, Variables } from "../core/script.ts";
import type { Handler, HandshakeResponder, HeaderFilter } from "../core/types.ts";
import type { UpstreamHook } from "../core/upstream.ts";
import type { WorkerConnections } from "../server/connections.ts";
import type { ListeningSite } from "../server/types.ts";
import { serverDirectives } from "./server_directives.ts";
import type { Upstreams } from "./upstreams.ts";

/** An http block while it is built. */
export interface HttpBuild {
  readonly cycle: Cycle;
  readonly scope: Scope;
  readonly variables: Variables;
  readonly upstreams: Upstreams;
  /** Registers work to do when all locations exist (proxy_pass finds its upstream). */
  readonly later: (work: () => void) => void;
  readonly masters: MasterShare[];
  readonly workers: WorkerShare[];
  readonly checkers: CheckerShare[];
  readonly listeners: ModuleListener[];
  readonly responders: HandshakeResponder[];
  /** What the checker answers at the control socket, by the name of the command. */
  readonly commands: Map<string, Command>;
  /** Where the status page has the states of certificates from; each is asked for every page. */
  readonly certificates: (() => readonly CertificateStatus[])[];
  /** Absolute paths of log files, to be opened before the configuration takes effect. */
  readonly logFiles: Set<string>;
  /** Absolute paths of directories for temporary files, to be created for the workers' user. */
  readonly directories: Set<string>;
  /** Fields of servers' responses that no location passes on, whatever its `…_pass_header`: between proxy and servers. In lower case. */
  readonly hiddenFields: Set<string>;
}

/** What a module does in the master. */
export interface MasterShare {
  /** Called before a child uses what the module has, at a reload too. Returns a warning; throws what refuses the configuration. */
  prepare(doors: Doors): string | undefined;
  /** Called before a configuration is read anew, which may take the master seconds. */
  reading?(): void;
  /** With `-t`: throws what a start would report later, and serve all the same. */
  test?(): void;
  /**
   * Called when the master is told to end gracefully, before it closes a socket or tells a child, unless another master goes on
   * serving. It waits until this resolves: when clients find another machine.
   */
  announce?(): Promise<void>;
  /** The same where it is told to end at once. */
  giveUp?(): void;
  /** Called when all children have ended. `shared`: another master goes on serving. */
  leave(shared: boolean): void;
}

/**
 * Which connections of clients a worker lets go, while new ones may come: those that ask for something, after it; or the idle ones
 * as well, whose clients may be asking at that very moment.
 */
export type LetGo = "none" | "answered" | "all";

/** What a module keeps in shared memory for each worker. */
export interface WorkerShare {
  /** Called in a worker before it serves, with its slot (below MAX_WORKERS) and the number of workers. */
  enter(slot: number, workers: number): void;
  /**
   * Called in a worker when it accepts from all its sockets, and again when those have changed. `letGo` sends clients elsewhere,
   * until it is called with "none".
   */
  serving?(slot: number, workers: number, letGo: (how: LetGo) => void): void;
  /** Called in a worker when no new request comes to this configuration, since another one is in force or the worker leaves. */
  retiring?(): void;
  /** Called in the master when the worker with that slot has exited for whatever reason. */
  forget(slot: number): void;
}

/** A socket that a module listens on, for a protocol of its own. */
export interface ModuleListener {
  readonly spec: ListenSpec;
  readonly at: Directive;
  /** Called in a worker, in each cycle: what its connections belong to. `previous`: what this address had in the cycle before. */
  open(worker: ListeningWorker, previous: ListeningSite | undefined): ListeningSite;
}

export interface ListeningWorker {
  /** Below MAX_WORKERS. */
  readonly slot: number;
  /** By COUNTER. */
  readonly counters: Int32Array;
  readonly connections: WorkerConnections;
}

/** What a module does in the checker. */
export interface CheckerShare {
  /** By which the next cycle finds it. */
  readonly name: string;
  /** Called once a cycle, in the checker alone. `previous`: what the cycle before had returned, to be stopped here. */
  check(previous: CheckerService | undefined): CheckerService;
}

/** A certificate that a module obtains, for the status page. Strings are byte strings, times wall-clock ms. */
export interface CertificateStatus {
  readonly names: readonly string[];
  readonly issuer: string;
  /** "pending": there is none yet; "failed": none, and the last attempt failed. */
  readonly state: "valid" | "expired" | "pending" | "failed";
  /** When it expires; 0 where there is none. */
  readonly expires: number;
  /** The next attempt, which is now where it is due; Infinity where there is none before a reload. */
  readonly next: number;
  /** The last attempt where it failed: when (0: it did not) and why. */
  readonly failed: number;
  readonly reason: string;
}

/** The place that a module's settings are built for. */
export interface Place {
  readonly http: HttpBuild;
  readonly scope: Scope;
  readonly location: Location;
  readonly server: Server;
  /** The enclosing location, from which an `if` block inherits. */
  readonly parent: Location | undefined;
  /** Builds the location of a nested `if` or `limit_except` block. */
  readonly block: (scope: Scope) => Location;
  /** Registers work to do when the location, and the blocks in it, have their handlers: before its first request. */
  readonly equipped: (work: () => void) => void;
}

/** A name of a location that stays the same over reloads as long as the configuration has it. */
export function placeText({ scope }: Place): string {
  const blocks: string[] = [];
  let at = scope;
  for (; at.context !== "server" && at.parent !== undefined; at = at.parent) {
    blocks.push([at.directive.name, ...at.directive.args].join(" "));
  }
  const { listen, server_name } = serverDirectives.in(at);
  return [...[...listen, ...server_name].map(({ args }) => args.join(" ")), ...blocks.reverse()].join("\n");
}

export interface ModuleDefinition<D extends Specs, S> {
  /** nginx's module name without `ngx_` and `_module`. */
  readonly name: string;
  readonly directives: D;
  /** Its option in `configure arguments` (`-V`): `--with-http_stub_status_module`. */
  readonly configure?: string;
  readonly variables?: Readonly<Record<string, VariableSpec>>;
  /** Host names to look up before the tree is built (syslog servers). */
  readonly hosts?: (http: Scope) => readonly HostWanted[];
  /** Once per configuration, before locations are built: variables that directives define (map, set). */
  readonly setup?: (http: HttpBuild) => void;
  /**
   * Turns the directives' settings into what handlers need in one location. Default: the settings themselves. Locations of one
   * level that set none of the module's directives share what it returns for the first of them. `around`: for an `if` or
   * `limit_except` block, which inherits what nested locations do not, what it returned for the location around.
   */
  readonly build?: (settings: SettingsOf<D>, place: Place, around: S | undefined) => S;
  /** Called for each server when settings have been built for it. */
  readonly server?: (settings: SettingsOf<D>, place: Place) => void;
  readonly postRead?: (settings: S, location: Location) => Handler | undefined;
  readonly rewrite?: (settings: S, location: Location) => Handler | undefined;
  readonly preaccess?: (settings: S, location: Location) => Handler | undefined;
  readonly access?: (settings: S, location: Location) => Handler | undefined;
  readonly precontent?: (settings: S, location: Location) => Handler | undefined;
  /** Handlers of the content phase, tried in order (index, autoindex, static). */
  readonly contentPhase?: (settings: S, location: Location) => Handler | undefined;
  /** The content handler that replaces those (proxy_pass, stub_status). */
  readonly content?: (settings: S, location: Location) => Handler | undefined;
  /** Its header filters, by the names in HEADER_FILTERS, which defines their order. */
  readonly headerFilters?: Readonly<
    Partial<Record<HeaderFilterName, (settings: S, location: Location) => HeaderFilter | undefined>>
  >;
  /** What it does when a request is passed to an upstream. */
  readonly upstreamHook?: (settings: S, location: Location) => UpstreamHook | undefined;
  readonly log?: (settings: S, location: Location) => Handler | undefined;
}

/** A module as the core holds it; only `of` knows the type of its settings. */
export interface HttpModule<S = unknown> {
  readonly name: string;
  /** Index of its settings in `Location.settings`. */
  readonly slot: number;
  readonly directives: Directives<Specs>;
  readonly configure: string | undefined;
  readonly definition: ModuleDefinition<Specs, S>;
  /** The module's settings in a location. */
  of(location: Location): S;
}

let slots = 0;

/** Declares a module: its directives, and what it does in each phase. Listed in registry.ts. */
export function defineModule<const D extends Specs, S = SettingsOf<D>>(
  definition: ModuleDefinition<D, S>,
): HttpModule<S> {
  const slot = slots++;
  return {
    name: definition.name,
    slot,
    directives: defineDirectives(definition.name, definition.directives),
    configure: definition.configure,
    // The settings' type is erased here and restored by `of`; both sides are this one module.
    definition: definition as unknown as ModuleDefinition<Specs, S>,
    of: (location) => location.settings[slot] as S,
  };
}
