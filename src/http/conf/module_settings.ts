import { refusalsOf } from "../../config/errors.ts";
import type { DirectiveSpec, Scope } from "../../config/schema.ts";
import type { Location } from "../core/location.ts";
import type { HttpModule, Place } from "./module.ts";

type Settings = Location["settings"];

/**
 * Builds every module's settings of a location. Most locations set directives of one or two modules: what the others have in
 * them is the same in all locations of a level, or in all servers, and is built once.
 */
export class ModuleSettings {
  private readonly modules: readonly HttpModule[];
  private readonly byDirective = new Map<DirectiveSpec<unknown>, readonly HttpModule[]>();
  /** By the location around, undefined for servers: of modules that have no directive in a location. */
  private readonly shared = new Map<Location | undefined, Settings>();

  constructor(modules: readonly HttpModule[]) {
    this.modules = modules;
    for (const module of modules) {
      for (const spec of Object.values(module.directives.specs)) {
        this.byDirective.set(spec, [...(this.byDirective.get(spec) ?? []), module]);
      }
    }
  }

  /** Errors are noted in `refusalsOf(scope)`. */
  build(place: Place): void {
    const { scope, parent, location } = place;
    const { settings } = location;
    const refusals = refusalsOf(scope);
    const set = this.modulesIn(scope);
    // An `if` block also inherits what nested locations do not, such as proxy_pass.
    const shared = location.kind === "block" ? undefined : this.sharedIn(parent);
    for (const module of this.modules) {
      const { slot } = module;
      const own = shared === undefined || set.includes(module);
      if (!own && slot in shared) {
        settings[slot] = shared[slot];
        continue;
      }
      refusals.attempt(() => {
        settings[slot] = settingsIn(module, place);
        if (!own) shared[slot] = settings[slot];
      });
    }
    if (location.kind !== "server") return;
    for (const { definition, directives } of this.modules) {
      const { server } = definition;
      if (server !== undefined) refusals.attempt(() => server(directives.in(scope), place));
    }
  }

  private modulesIn({ order }: Scope): readonly HttpModule[] {
    const found: HttpModule[] = [];
    for (const { spec } of order) {
      for (const module of this.byDirective.get(spec) ?? []) if (!found.includes(module)) found.push(module);
    }
    return found;
  }

  private sharedIn(parent: Location | undefined): Settings {
    const known = this.shared.get(parent);
    if (known !== undefined) return known;
    const fresh: Settings = [];
    this.shared.set(parent, fresh);
    return fresh;
  }
}

function settingsIn({ directives, definition }: HttpModule, place: Place): unknown {
  const raw = directives.in(place.scope);
  return definition.build === undefined ? raw : definition.build(raw, place);
}
