import fs from "node:fs";
import { access, bitmask, flag, number } from "../../../config/directives.ts";
import type { SettingsOf } from "../../../config/schema.ts";
import { osPath } from "../../../sys/paths.ts";
import { ESCAPE_URI, escapeUri } from "../../../wire/escape.ts";
import { HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { DECLINED } from "../../core/codes.ts";
import { finalizeRequest } from "../../core/engine.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { Handler } from "../../core/types.ts";
import { directoryAccess, fileCall } from "../../files/file_operations.ts";
import { mapUriToPath } from "../../files/file_root.ts";
import { copyMoveHandler } from "./copy_move.ts";
import { deleteHandler } from "./delete.ts";
import { davError, runOperation } from "./operation.ts";
import { putHandler } from "./put.ts";

const directives = {
  dav_methods: bitmask({
    in: HTTP_LOCATION,
    values: ["off", "put", "delete", "mkcol", "copy", "move"],
    default: ["off"],
    doc: "The WebDAV methods that are allowed. Who may use them is for `allow`, `auth_basic` and `limit_except` to say.",
  }),
  create_full_put_path: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Creates the directories that are missing for a file that is PUT.",
  }),
  min_delete_depth: number({
    in: HTTP_LOCATION,
    default: 0,
    doc: "How many elements the path of a DELETE must have at least.",
  }),
  dav_access: access({
    in: HTTP_LOCATION,
    default: 0o600,
    defaultText: "user:rw",
    doc: "Permissions of new files and directories, such as `user:rw group:rw all:r`. Whoever may read a directory may search it.",
  }),
};

export type DavSettings = SettingsOf<typeof directives>;

/** ngx_http_dav_module: WebDAV (RFC 4918) as far as it changes files: PUT, DELETE, MKCOL, COPY and MOVE. */
export const dav = defineModule({
  name: "http_dav",
  configure: "--with-http_dav_module",
  directives,
  contentPhase(settings) {
    const handlers = new Map<string, Handler>();
    const { dav_methods: methods } = settings;
    if (methods.has("put")) handlers.set("PUT", putHandler(settings));
    if (methods.has("delete")) handlers.set("DELETE", deleteHandler(settings));
    if (methods.has("mkcol")) handlers.set("MKCOL", mkcolHandler(settings));
    if (methods.has("copy")) handlers.set("COPY", copyMoveHandler(settings));
    if (methods.has("move")) handlers.set("MOVE", copyMoveHandler(settings));
    if (handlers.size === 0) return undefined;
    return (request) => handlers.get(request.method)?.(request) ?? DECLINED;
  },
});

/** MKCOL: creates a directory. */
function mkcolHandler({ dav_access: access }: DavSettings): Handler {
  return (request) => {
    if (request.contentLength > 0 || request.chunked) {
      logError(request, "error", "MKCOL with body is unsupported");
      return 415;
    }
    if (!request.uri.endsWith("/")) {
      logError(request, "error", "MKCOL can create a collection only");
      return 409;
    }
    const mapped = mapUriToPath(request);
    if (mapped === undefined) return 500;
    const path = mapped.path.slice(0, -1);
    return runOperation(
      request,
      async (log) => {
        try {
          await fileCall("mkdir()", path, fs.promises.mkdir(osPath(path), directoryAccess(access)));
          return 201;
        } catch (error) {
          return davError(log, error, 409);
        }
      },
      answerCreated,
    );
  };
}

function answerCreated(request: Request, status: number): void {
  if (status === 201) request.response.location = escapeUri(request.uri, ESCAPE_URI);
  finalizeRequest(request, status);
}
