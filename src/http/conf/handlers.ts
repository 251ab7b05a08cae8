import { HEADER_FILTERS, type HeaderFilterName } from "../core/filters.ts";
import type { Location } from "../core/location.ts";
import type { Handler, HeaderFilter } from "../core/types.ts";
import type { UpstreamHook, UpstreamHooks } from "../core/upstream.ts";
import type { HttpModule } from "./module.ts";

interface ModuleFilter {
  readonly module: HttpModule;
  readonly filterOf: (settings: unknown, location: Location) => HeaderFilter | undefined;
}

function filtersNamed(name: HeaderFilterName, modules: readonly HttpModule[]): ModuleFilter[] {
  return modules.flatMap((module) => {
    const filterOf = module.definition.headerFilters?.[name];
    return filterOf === undefined ? [] : [{ module, filterOf }];
  });
}

/** Asks every module what it does in a location, and puts that into flat arrays: nothing is looked up per request. */
export class ModuleHandlers {
  private readonly modules: readonly HttpModule[];
  private readonly headerFilters: readonly ModuleFilter[];

  constructor(modules: readonly HttpModule[]) {
    this.modules = modules;
    this.headerFilters = HEADER_FILTERS.flatMap((name) => filtersNamed(name, modules));
  }

  /** Handlers come in the registry's order, filters in that of HEADER_FILTERS. */
  put(location: Location): void {
    const phase = (of: "postRead" | "rewrite" | "preaccess" | "access" | "precontent" | "contentPhase" | "log") => {
      const found: Handler[] = [];
      for (const module of this.modules) {
        const handler = module.definition[of]?.(module.of(location), location);
        if (handler !== undefined) found.push(handler);
      }
      return found;
    };
    location.postRead = phase("postRead");
    location.rewrite = phase("rewrite");
    location.preaccess = phase("preaccess");
    location.access = phase("access");
    location.precontent = phase("precontent");
    location.contentPhase = phase("contentPhase");
    location.log = phase("log");
    location.headerFilters = this.headerFilters.flatMap(({ module, filterOf }) => {
      const filter = filterOf(module.of(location), location);
      return filter === undefined ? [] : [filter];
    });
    location.upstreamHooks = upstreamHooks(
      this.modules.flatMap((module) => module.definition.upstreamHook?.(module.of(location), location) ?? []),
    );
    for (const module of this.modules) {
      const content = module.definition.content?.(module.of(location), location);
      if (content !== undefined) location.content = content;
    }
    location.direct =
      location.content !== undefined &&
      location.rewrite.length + location.preaccess.length + location.access.length + location.precontent.length === 0;
  }
}

function upstreamHooks(hooks: readonly UpstreamHook[]): UpstreamHooks | undefined {
  if (hooks.length === 0) return undefined;
  const at = <K extends keyof UpstreamHook>(place: K) => {
    const found = hooks.flatMap((hook) => hook[place] ?? []);
    return found.length === 0 ? undefined : found;
  };
  return { peer: at("peer"), head: at("head"), body: at("body"), end: at("end") };
}
