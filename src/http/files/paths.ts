import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { WHOLE_URI } from "./file_root.ts";

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
