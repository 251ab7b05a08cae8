import type { Directive } from "../config/types.ts";
import type { CompiledRegex } from "../regex/regex.ts";
import type { ScriptContext, Variables } from "./variables.ts";

interface NamedGroup {
  readonly group: number;
  readonly slot: number;
}

/** The variables of a regex's named groups. Filled while the configuration is built. */
const groups = new WeakMap<CompiledRegex, readonly NamedGroup[]>();

/** Declares a regex's named groups as variables. `at`: its directive, for the error if one may not be redefined. */
export function declareCaptures<C extends ScriptContext>(
  regex: CompiledRegex,
  variables: Variables<C>,
  at?: Directive,
): void {
  if (regex.names.length === 0) return;
  groups.set(
    regex,
    regex.names.map(({ name, index }) => ({ group: index, slot: variables.assignable(name, at).index })),
  );
}

/** Sets the variables of a regex that just matched. */
export function assignCaptures(
  context: ScriptContext,
  regex: CompiledRegex,
  captures: readonly (string | undefined)[],
): void {
  if (regex.names.length === 0) return;
  for (const { group, slot } of groups.get(regex) ?? []) context.variables[slot] = captures[group] ?? "";
}
