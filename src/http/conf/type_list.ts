import { directive } from "../../config/directives.ts";
import { warn } from "../../config/errors.ts";
import type { DirectiveSpec } from "../../config/schema.ts";
import type { Context } from "../../config/types.ts";
import { lowercase } from "../../wire/latin1.ts";

/** Media types in lower case that a filter works on. */
export type TypeList = ReadonlySet<string> | "any";

/**
 * A directive that lists media types, such as `charset_types` (ngx_http_types_slot): its arguments are added to the
 * first of the defaults; `*` means any type.
 */
export function typeList(options: {
  readonly in: readonly Context[];
  readonly doc: string;
  readonly default: readonly [string, ...string[]];
}): DirectiveSpec<TypeList> {
  const { default: usual, ...rest } = options;
  return directive<TypeList>({
    ...rest,
    args: [1, Number.POSITIVE_INFINITY],
    syntax: "mime-type ...",
    initial: () => new Set(usual),
    defaultText: usual.join(" "),
    repeat: true,
    read(at, scope, previous) {
      if (previous === "any") return previous;
      const types = new Set(previous ?? [usual[0]]);
      for (const arg of at.args) {
        if (arg === "*") return "any";
        const type = lowercase(arg);
        if (types.has(type)) warn(at, scope, `duplicate MIME type "${type}"`);
        types.add(type);
      }
      return types;
    },
  });
}

/** Whether a media type (without parameters; "" for none) is in the list. */
export function inTypeList(list: TypeList, type: string): boolean {
  return list === "any" || list.has(type) || list.has(lowercase(type));
}
