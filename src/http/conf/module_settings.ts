import { refusalsOf } from "../../config/errors.ts";
import type { DirectiveSpec, Scope } from "../../config/schema.ts";
import type { Location } from "../core/location.ts";
import type { HttpModule, Place } from "./module.ts";

type Settings = Location["settings"];

/** What the locations of a level share: of each module what it has in those that set none of its directives. */
interface Level {
  readonly shared: Settings;
  /** Modules of which there is nothing yet: every location so far has set directives of them. */
  readonly lacking: Set<HttpModule>;
  /** Of a server's locations: modules that the server sets directives of. Of the others, all servers' locations share. */
  readonly apart: readonly HttpModule[] | undefined;
}

/**
 * Builds every module's settings of a location. Most locations set directives of one or two modules: what the others have in
 * them is the same in all locations of a level, or in all servers, and is built once; and the same in the locations of all servers
 * that set no directive of the module either.
 */
export class ModuleSettings {
  private readonly modules: readonly HttpModule[];
  private readonly ofServers: readonly HttpModule[];
  /** By directive, in the registry's order. */
  private readonly byDirective = new Map<DirectiveSpec<unknown>, readonly HttpModule[]>();
  private readonly order: ReadonlyMap<HttpModule, number>;
  /** By the location around, undefined for servers. */
  private readonly levels = new Map<Location | undefined, Level>();
  private readonly inServers: Level;

  constructor(modules: readonly HttpModule[]) {
    this.modules = modules;
    this.ofServers = modules.filter(({ definition }) => definition.server !== undefined);
    this.inServers = { shared: [], lacking: new Set(modules), apart: undefined };
    this.order = new Map(modules.map((module, i) => [module, i]));
    for (const module of modules) {
      for (const spec of Object.values(module.directives.specs)) {
        this.byDirective.set(spec, [...(this.byDirective.get(spec) ?? []), module]);
      }
    }
  }

  /** What a new location has from its siblings, by slot; `build` adds the rest. */
  begun(kind: Location["kind"], parent: Location | undefined, scope: Scope): Settings {
    return kind === "block" ? [] : this.levelIn(parent, scope).shared.slice();
  }

  /** Errors are noted in `refusalsOf(scope)`. */
  build(place: Place): void {
    const { scope, parent, location } = place;
    // An `if` block also inherits what nested locations do not, such as proxy_pass.
    if (location.kind === "block") for (const module of this.modules) put(module, place);
    else this.buildOwn(place, this.levelIn(parent, scope));
    if (location.kind !== "server") return;
    const refusals = refusalsOf(scope);
    for (const { definition, directives } of this.ofServers) {
      refusals.attempt(() => definition.server?.(directives.in(scope), place));
    }
  }

  private buildOwn(place: Place, level: Level): void {
    const { lacking } = level;
    const own = this.modulesIn(place.scope);
    if (lacking.size === 0) {
      for (const module of own) put(module, place);
      return;
    }
    for (const module of this.modules) {
      if (own.includes(module)) put(module, place);
      else if (lacking.has(module) && put(module, place)) this.share(module, place.location.settings, level);
    }
  }

  private share(module: HttpModule, settings: Settings, level: Level): void {
    const { slot } = module;
    level.shared[slot] = settings[slot];
    level.lacking.delete(module);
    if (level.apart === undefined || level.apart.includes(module)) return;
    this.inServers.shared[slot] = settings[slot];
    this.inServers.lacking.delete(module);
  }

  /** In the registry's order. */
  private modulesIn({ order }: Scope): readonly HttpModule[] {
    const found: HttpModule[] = [];
    for (const { spec } of order) {
      for (const module of this.byDirective.get(spec) ?? []) if (!found.includes(module)) found.push(module);
    }
    if (found.length > 1) found.sort((a, b) => (this.order.get(a) ?? 0) - (this.order.get(b) ?? 0));
    return found;
  }

  private levelIn(parent: Location | undefined, scope: Scope): Level {
    const known = this.levels.get(parent);
    if (known !== undefined) return known;
    const fresh = this.newLevel(parent, scope);
    this.levels.set(parent, fresh);
    return fresh;
  }

  private newLevel(parent: Location | undefined, { parent: around }: Scope): Level {
    if (parent?.kind !== "server" || around === undefined) {
      return { shared: [], lacking: new Set(this.modules), apart: undefined };
    }
    const { shared, lacking } = this.inServers;
    const apart = this.modulesIn(around);
    return { shared: shared.slice(), lacking: new Set([...lacking, ...apart]), apart };
  }
}

/** Whether the module has no objection, which is noted. */
function put(module: HttpModule, place: Place): boolean {
  const { slot, directives, definition } = module;
  const { scope, location, parent } = place;
  const built = refusalsOf(scope).attempt(() => {
    const raw = directives.in(scope);
    const around = location.kind === "block" && parent !== undefined ? module.of(parent) : undefined;
    location.settings[slot] = definition.build === undefined ? raw : definition.build(raw, place, around);
    return true;
  });
  return built === true;
}
