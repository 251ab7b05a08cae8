import { type DirectiveSpec, ownValue, type Scope } from "../../config/schema.ts";
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

/** The nearest `root` or `alias`. `absolute` puts the prefix in front of a relative path. */
export function fileRoot(scope: Scope, specs: RootSpecs, absolute: (path: string) => string): FileRoot {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    const root = ownValue(at, specs.root);
    if (root !== undefined) return madeAbsolute(root, 0, absolute);
    const alias = ownValue(at, specs.alias);
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
  // A path that begins with a variable may turn out to be relative.
  return { constant: undefined, render: (request) => absolute(path.render(request)), alias };
}

/**
 * A file's path; its first `rootLength` bytes are the root or alias. A byte string: file system calls take
 * `osPath(path)`.
 */
export interface MappedPath {
  readonly path: string;
  readonly rootLength: number;
}

/**
 * The file of the request's URI under `root` or `alias` (ngx_http_map_uri_to_path). Undefined, after an [alert], if an
 * alias cannot apply because a rewrite changed the URI: the answer is 500.
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
