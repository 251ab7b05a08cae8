import fs from "node:fs";
import { ESCAPE_URI, escapeUri } from "../../wire/escape.ts";
import { defineModule } from "../conf/module.ts";
import { DECLINED } from "../core/codes.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { mapUriToPath } from "../files/file_root.ts";
import { sendKnown, sendOpen } from "../files/plain_file.ts";
import { openServed, type ServedFile } from "../files/served_file.ts";
import { smallFile } from "../files/small_files.ts";

const { S_IFMT, S_IFDIR, S_IFREG } = fs.constants;

/** ngx_http_static_module: the file of the URI under `root` or `alias`. */
export const staticFiles = defineModule({
  name: "http_static",
  directives: {},
  contentPhase: () => serveFile,
});

function serveFile(request: Request): number {
  const { method, uri } = request;
  if (method !== "GET" && method !== "HEAD" && method !== "POST") return 405;
  if (uri.charCodeAt(uri.length - 1) === 0x2f) return DECLINED;
  const mapped = mapUriToPath(request);
  if (mapped === undefined) return 500;
  const { path } = mapped;
  const { disableSymlinks: rule, openFileCache } = request.location.core;
  if (rule === undefined && method !== "POST") {
    const known = smallFile(path, openFileCache);
    if (known !== undefined) return sendKnown(request, known);
  }
  const file = openServed(request, path);
  return typeof file === "number" ? file : serveOpen(request, path, file);
}

/** Owns the descriptor: it is closed here, or by sendOpen. */
function serveOpen(request: Request, path: string, { fd, stats }: ServedFile): number {
  let sending = false;
  try {
    const kind = stats.mode & S_IFMT;
    if (kind === S_IFDIR) return redirectToDirectory(request);
    if (kind !== S_IFREG) {
      logError(request, "crit", `"${path}" is not a regular file`);
      return 404;
    }
    if (request.method === "POST") return 405;
    sending = true;
    return sendOpen(request, path, fd, stats);
  } finally {
    if (!sending) fs.closeSync(fd);
  }
}

/** `/dir` is answered with `/dir/`, arguments kept. */
function redirectToDirectory(request: Request): number {
  const { response, args } = request;
  const to = `${escapeUri(request.uri, ESCAPE_URI)}/`;
  response.location = args === "" ? to : `${to}?${args}`;
  return 301;
}
