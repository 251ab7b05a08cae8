import { refusalsOf } from "../config/errors.ts";
import type { Directives, Specs } from "../config/schema.ts";
import { buildingScopes } from "../config/scopes.ts";
import { deserializingDirectives } from "../config/serialize.ts";
import { openZone } from "../shm/registry.ts";
import { inSlices, type Sliced } from "../sys/sliced.ts";
import { beginBuilding } from "../sys/v8_flags.ts";
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
  const built = beginBuilding(data.directives.reduce((sum, { length }) => sum + length, 0));
  return inSlices(building(program, data)).finally(built);
}

/** The master has read the same configuration, and so all files of it that could be read. */
function notRead(path: string): never {
  throw new Error(`"${path}" was not sent with the configuration`);
}

function* building(program: Program, data: CycleData): Sliced<BuiltCycle> {
  const tree = { files: [], directives: yield* deserializingDirectives(data.directives) };
  const root = yield* buildingScopes(tree, tablesOf(program));
  const cycle = cycleOf(data, root, { zone: (wanted) => openZone(data.zones, wanted), readFile: notRead });
  const application = yield* program.build(cycle);
  refusalsOf(root).throwAll(tree);
  return { cycle, application };
}
