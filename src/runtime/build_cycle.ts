import { refusalsOf } from "../config/errors.ts";
import type { Directives, Specs } from "../config/schema.ts";
import { buildingScopes } from "../config/scopes.ts";
import { inSlices, type Sliced } from "../sys/sliced.ts";
import type { Application, Program } from "./application.ts";
import { type Cycle, type CycleData, cycleOf } from "./cycle.ts";
import { coreDirectives, eventsDirectives } from "./directives.ts";

export interface BuiltCycle {
  readonly cycle: Cycle;
  readonly application: Application;
}

/** Every table of directives: the runtime's own and the program's. */
export function tablesOf(program: Program): readonly Directives<Specs>[] {
  return [coreDirectives, eventsDirectives, ...program.directives];
}

/** Builds a cycle that the master has validated, a slice at a time, while requests are served. Throws ConfigError. */
export async function buildCycle(program: Program, data: CycleData): Promise<BuiltCycle> {
  return inSlices(building(program, data));
}

function* building(program: Program, data: CycleData): Sliced<BuiltCycle> {
  const root = yield* buildingScopes(data.tree, tablesOf(program));
  const cycle = cycleOf(data, root, (name, bytes) => {
    const zone = data.zones[name];
    if (zone === undefined) throw new Error(`the shared zone "${name}" was not made by the master`);
    if (zone.byteLength !== bytes) throw new Error(`the shared zone "${name}" has another size than the master's`);
    return zone;
  });
  const application = yield* program.build(cycle);
  refusalsOf(root).throwAll(data.tree);
  return { cycle, application };
}
