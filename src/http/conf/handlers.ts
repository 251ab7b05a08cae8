import { CONDITIONAL_FILTERS, HEADER_FILTERS, type HeaderFilterName } from "../core/filters.ts";
import type { Location } from "../core/location.ts";
import type { Handler, HeaderFilter } from "../core/types.ts";
import type { UpstreamHook, UpstreamHooks } from "../core/upstream.ts";
import type { HttpModule } from "./module.ts";

interface ModuleFilter {
  readonly name: HeaderFilterName;
  readonly module: HttpModule;
  readonly filterOf: (settings: unknown, location: Location) => HeaderFilter | undefined;
}

function filtersNamed(name: HeaderFilterName, modules: readonly HttpModule[]): ModuleFilter[] {
  return modules.flatMap((module) => {
    const filterOf = module.definition.headerFilters?.[name];
    return filterOf === undefined ? [] : [{ name, module, filterOf }];
  });
}

const PHASES = ["postRead", "rewrite", "preaccess", "access", "precontent", "contentPhase", "log"] as const;
type Phase = (typeof PHASES)[number];

/** Most lists of most locations: one for all. */
export const NO_HANDLERS: readonly Handler[] = [];
export const NO_FILTERS: readonly HeaderFilter[] = [];

/** Asks every module what it does in a location, and puts that into flat arrays: nothing is looked up per request. */
export class ModuleHandlers {
  /** The modules that have something to say to each. */
  private readonly phases: readonly (readonly [phase: Phase, modules: readonly HttpModule[]])[];
  private readonly headerFilters: readonly ModuleFilter[];
  private readonly hooks: readonly HttpModule[];
  private readonly contents: readonly HttpModule[];

  constructor(modules: readonly HttpModule[]) {
    const having = (what: Phase | "upstreamHook" | "content") =>
      modules.filter(({ definition }) => definition[what] !== undefined);
    this.phases = PHASES.map((phase) => [phase, having(phase)]);
    this.headerFilters = HEADER_FILTERS.flatMap((name) => filtersNamed(name, modules));
    this.hooks = having("upstreamHook");
    this.contents = having("content");
  }

  /** Handlers come in the registry's order, filters in that of HEADER_FILTERS. */
  put(location: Location): void {
    for (const [phase, modules] of this.phases) location[phase] = handlersOf(phase, modules, location);
    this.putFilters(location);
    const hooks: UpstreamHook[] = [];
    for (const module of this.hooks) {
      const hook = module.definition.upstreamHook?.(module.of(location), location);
      if (hook !== undefined) hooks.push(hook);
    }
    location.upstreamHooks = upstreamHooks(hooks);
    for (const module of this.contents) {
      const content = module.definition.content?.(module.of(location), location);
      if (content !== undefined) location.content = content;
    }
    location.direct =
      location.content !== undefined &&
      location.rewrite.length + location.preaccess.length + location.access.length + location.precontent.length === 0;
  }

  private putFilters(location: Location): void {
    const found: HeaderFilter[] = [];
    location.filtersConditions = true;
    for (const { name, module, filterOf } of this.headerFilters) {
      const filter = filterOf(module.of(location), location);
      if (filter === undefined) continue;
      found.push(filter);
      if (!CONDITIONAL_FILTERS.has(name)) location.filtersConditions = false;
    }
    location.headerFilters = found.length === 0 ? NO_FILTERS : found;
  }
}

function handlersOf(phase: Phase, modules: readonly HttpModule[], location: Location): readonly Handler[] {
  const found: Handler[] = [];
  for (const module of modules) {
    const handler = module.definition[phase]?.(module.of(location), location);
    if (handler !== undefined) found.push(handler);
  }
  return found.length === 0 ? NO_HANDLERS : found;
}

function upstreamHooks(hooks: readonly UpstreamHook[]): UpstreamHooks | undefined {
  if (hooks.length === 0) return undefined;
  const at = <K extends keyof UpstreamHook>(place: K) => {
    const found = hooks.flatMap((hook) => hook[place] ?? []);
    return found.length === 0 ? undefined : found;
  };
  return { peer: at("peer"), head: at("head"), body: at("body"), end: at("end") };
}
