import { directive } from "../config/directives.ts";
import { fail, type Scope } from "../config/schema.ts";
import { ConfigError, type Directive, placeText } from "../config/types.ts";

/**
 * `state`: the file that an upstream's servers are kept in (NGINX Plus). It has `server` directives and nothing else. The
 * parser reads it in place of the directive, as if it was included, and finds no servers where there is no such file yet. It
 * changes only when servers are changed while serving, for which there is no API yet; what names are resolved to is not
 * kept there.
 */

export const state = directive<string, undefined>({
  in: ["upstream"],
  args: [1, 1],
  syntax: "file",
  doc: "The group's servers are the `server` directives in this file, which need not exist yet; the block has none of its own. A relative path starts at the configuration's directory. It needs `zone`.",
  initial: () => undefined,
  // The parser has made the path absolute.
  read: (at) => at.args[0],
});

/** Refuses what does not go with `state` in an upstream's block. */
export function checkState(block: Scope, path: string, zone: boolean): void {
  for (const { directive: at } of block.order) {
    const own = at.file !== path;
    if (own && at.name === "server") fail(stateIn(block), '"state" directive is incompatible with "server"');
    if (!own && at.name !== "server") fail(at, `"${at.name}" directive is not allowed here`);
  }
  if (zone) return;
  const { args, file, line } = block.directive;
  throw new ConfigError(`"state" requires upstream "${args[0]}" in ${placeText(file, line)} to be in shared memory`);
}

function stateIn(block: Scope): Directive {
  return block.order.find(({ directive: { name } }) => name === "state")?.directive ?? block.directive;
}
