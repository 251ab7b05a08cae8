import type { DirectiveSpec, Scope } from "../../config/schema.ts";
import { parseLocationName } from "../conf/location_tree.ts";
import type { Template } from "../core/script.ts";
import type { FileRoot } from "../core/types.ts";

/** `alias` in a regex location: the path stands for the whole URI. */
export const WHOLE_URI = -1;

interface RootSpecs {
  readonly root: DirectiveSpec<Template | undefined>;
  readonly alias: DirectiveSpec<Template | undefined>;
}

/** Finds the nearest of the two and makes it absolute. `absolute` puts the prefix in front of a relative path. */
export function fileRoot(scope: Scope, specs: RootSpecs, absolute: (path: string) => string): FileRoot {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    const root = at.values.get(specs.root) as Template | undefined;
    if (root !== undefined) return madeAbsolute(root, 0, absolute);
    const alias = at.values.get(specs.alias) as Template | undefined;
    if (alias !== undefined) return madeAbsolute(alias, aliasedLength(at), absolute);
  }
  const html = absolute("html");
  return { constant: html, render: () => html, alias: 0 };
}

function aliasedLength(scope: Scope): number {
  const name = parseLocationName(scope.directive.args);
  if ("error" in name) return 0;
  return name.kind === "regex" ? WHOLE_URI : name.name.length;
}

function madeAbsolute(path: Template, alias: number, absolute: (path: string) => string): FileRoot {
  if (path.constant !== undefined) {
    const constant = absolute(path.constant);
    return { constant, render: () => constant, alias };
  }
  if (path.text.startsWith("/")) return { constant: undefined, render: (request) => path.render(request), alias };
  // Where it begins with a variable, only its value tells whether the path is relative.
  return { constant: undefined, render: (request) => absolute(path.render(request)), alias };
}
