import { directive } from "../../config/directives.ts";
import { warn } from "../../config/errors.ts";
import { fail } from "../../config/schema.ts";
import { errorText } from "../../sys/errno.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { defineModule } from "../conf/module.ts";
import { DECLINED, OK } from "../core/codes.ts";
import { internalRedirect } from "../core/engine.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { type Template, template } from "../core/script.ts";
import { mapUriToPath } from "../files/file_root.ts";
import { FileError, statFile } from "../files/open_file.ts";

/** ngx_http_index_module: serves a URI that ends with a slash by the first of these files that exists. */
export const index = defineModule({
  name: "http_index",
  directives: {
    index: directive<readonly Template[] | undefined>({
      in: HTTP_LOCATION,
      args: [1, Number.POSITIVE_INFINITY],
      syntax: "file ...",
      doc: "The files tried in order for a URI that ends with a slash; the last may be an absolute URI.",
      initial: () => undefined,
      defaultText: "index.html",
      repeat: true,
      read(at, scope, previous = []) {
        const names = at.args.map((name, i) => {
          if (name === "") fail(at, 'index "" in "index" directive is invalid');
          if (name.startsWith("/") && i !== at.args.length - 1) {
            warn(at, scope, 'only the last index in "index" directive should be absolute');
          }
          return template(scope, at, name);
        });
        return [...previous, ...names];
      },
    }),
  },
  contentPhase({ index: names }) {
    if (names === undefined) return (request) => serveIndex(request, undefined);
    return (request) => serveIndex(request, names);
  },
});

function serveIndex(request: Request, names: readonly Template[] | undefined): number {
  const { uri, method } = request;
  if (uri.charCodeAt(uri.length - 1) !== 0x2f) return DECLINED;
  if (method !== "GET" && method !== "HEAD" && method !== "POST") return DECLINED;
  const count = names === undefined ? 1 : names.length;
  let directory: string | undefined;
  let tested = false;
  for (let i = 0; i < count; i++) {
    const name = names === undefined ? "index.html" : names[i].render(request);
    if (name.startsWith("/")) return internalRedirect(request, name, request.args);
    if (directory === undefined) {
      const mapped = mapUriToPath(request);
      if (mapped === undefined) return 500;
      directory = mapped.path;
    }
    const path = directory + name;
    const rule = request.location.core.disableSymlinks;
    try {
      statFile(request, path, rule);
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      const { code, call } = error;
      if (code === "EMLINK" || code === "ELOOP") return 403;
      if (code === "ENOTDIR" || code === "ENAMETOOLONG" || code === "EACCES") return indexError(request, path, code);
      if (!tested) {
        const verdict = testDirectory(request, directory, path);
        if (verdict !== OK) return verdict;
        tested = true;
      }
      if (code === "ENOENT") continue;
      logError(request, "crit", `${call} "${path}" failed (${errorText(code)})`);
      return 500;
    }
    return internalRedirect(request, uri + name, request.args);
  }
  return DECLINED;
}

/** Checks the directory after its `first` index was not found: a missing one is 404, one without index goes on. */
function testDirectory(request: Request, directory: string, first: string): number {
  const path = directory.length > 1 && directory.endsWith("/") ? directory.slice(0, -1) : directory;
  try {
    if (statFile(request, path, request.location.core.disableSymlinks).isDirectory()) return OK;
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    const { code, call } = error;
    if (code === "EMLINK" || code === "ELOOP") return 403;
    if (code === "ENOENT") return indexError(request, first, code);
    // The first file was looked up without this error, so searching the directory is allowed.
    if (code === "EACCES") return OK;
    logError(request, "crit", `${call} "${path}" failed (${errorText(code)})`);
    return 500;
  }
  logError(request, "alert", `"${path}" is not a directory`);
  return 500;
}

function indexError(request: Request, path: string, code: string): number {
  if (code === "EACCES") {
    logError(request, "error", `"${path}" is forbidden (${errorText(code)})`);
    return 403;
  }
  if (request.location.core.logNotFound) {
    logError(request, "error", `"${path}" is not found (${errorText(code)})`);
  }
  return 404;
}
