import { refusalsOf } from "../../config/errors.ts";
import type { Scope } from "../../config/schema.ts";
import { ConfigError, type Directive } from "../../config/types.ts";
import type { Cycle } from "../../runtime/cycle.ts";

/** The directories that directives name for files of their own (ngx_add_path): none may be used in two ways. */

interface UsedPath {
  readonly path: string;
  /** How many digits the names of each level of subdirectories have. */
  readonly levels: readonly number[];
  /** Others may use it in the same way: temporary files. */
  readonly shared: boolean;
}

interface NamedPath extends UsedPath {
  readonly at: Directive;
}

const PATHS = Symbol("paths");

class NamedPaths extends Array<NamedPath> {}

function pathsOf(scope: Scope): NamedPaths {
  const known = scope.notes.get(PATHS);
  if (known instanceof NamedPaths) return known;
  const made = new NamedPaths();
  scope.notes.set(PATHS, made);
  return made;
}

/** To be called when a directive is read. */
export function namePath(at: Directive, scope: Scope, used: UsedPath): void {
  pathsOf(scope).push({ at, ...used });
}

/** Notes an error, in nginx's words, for each path that an earlier directive uses in another way. */
export function refuseSharedPaths(scope: Scope, cycle: Cycle): void {
  const known = new Map<string, NamedPath>();
  for (const named of pathsOf(scope)) {
    const path = cycle.path(named.path.replace(/\/$/, ""));
    const before = known.get(path);
    if (before === undefined) known.set(path, named);
    else if (!before.shared || !named.shared)
      refuse(scope, named, `the same path name "${path}" used in ${placeOf(before)} and`);
    else if (before.levels.join() !== named.levels.join())
      refuse(scope, named, `the same path name "${path}" in ${placeOf(before)} has the different levels than`);
  }
}

function refuse(scope: Scope, { at }: NamedPath, sentence: string): void {
  refusalsOf(scope).note(new ConfigError(sentence, at));
}

function placeOf({ at }: NamedPath): string {
  return `${at.file}:${at.line}`;
}
