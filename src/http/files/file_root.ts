import type { DirectiveSpec, Scope } from "../../config/schema.ts";
import { parseLocationName } from "../conf/location_name.ts";
import type { FileRoot } from "../core/location.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import type { Template } from "../core/script.ts";

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

/** A file's name. `rootLength` is how much of it is the root or alias. Byte strings: use `osPath` at file system calls. */
export interface MappedPath {
  readonly path: string;
  readonly rootLength: number;
}

/**
 * The file of the request's URI under `root` or `alias` (ngx_http_map_uri_to_path). Undefined, after an [alert], where
 * an alias cannot apply because the URI is no longer the location's: answer 500.
 */
export function mapUriToPath(request: Request): MappedPath | undefined {
  const { root } = request.location.core;
  const { alias } = root;
  if (alias !== 0 && !request.validLocation) {
    logError(request, "alert", `"alias" cannot be used in location "${request.location.name}" where URI was rewritten`);
    return undefined;
  }
  const directory = root.constant ?? root.render(request);
  if (alias === 0) return { path: directory + request.uri, rootLength: directory.length };
  if (alias !== WHOLE_URI) return { path: directory + request.uri.substring(alias), rootLength: directory.length };
  if (!request.addUriToAlias) return { path: directory, rootLength: directory.length };
  return { path: directory + request.uri, rootLength: directory.length };
}
