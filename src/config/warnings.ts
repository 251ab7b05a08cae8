import type { Scope } from "./schema.ts";
import type { Directive } from "./types.ts";

/** Something odd in the configuration that does not keep it from working; logged as [warn], with its place as an error's. */
export interface ConfigWarning {
  readonly message: string;
  readonly file: string;
  readonly line: number;
}

const WARNINGS = Symbol("warnings");

/** Notes a warning at a directive. */
export function warn(directive: Directive, scope: Scope, message: string): void {
  const warnings = warningsOf(scope);
  scope.notes.set(WARNINGS, [...warnings, { message, file: directive.file, line: directive.line }]);
}

/** The warnings of the whole tree a scope belongs to, in the order found. */
export function warningsOf(scope: Scope): readonly ConfigWarning[] {
  const found = scope.notes.get(WARNINGS);
  return Array.isArray(found) ? found : [];
}
