import fs from "node:fs";
import { osPath } from "../../../sys/paths.ts";
import { type LogLine, logError, logOf } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { Handler } from "../../core/types.ts";
import {
  extRenameFile,
  FileCallError,
  fileCall,
  makeBeside,
  rename,
  replaceByCopy,
} from "../../files/file_operations.ts";
import { mapUriToPath } from "../../files/file_root.ts";
import type { DavSettings } from "./dav.ts";
import { removePath } from "./delete.ts";
import { readDepth, readDestination, readOverwrite } from "./fields.ts";
import { davError, runOperation, withErrno } from "./operation.ts";
import { copyContents, inTurn } from "./tree.ts";

/** A COPY or MOVE. Its source and its target are both collections, whose URIs end with a slash, or both are none. */
interface Transfer {
  readonly method: string;
  readonly uri: string;
  /** The field as it was sent. */
  readonly destination: string;
  readonly collection: boolean;
  readonly overwrite: boolean;
  /** Paths without the slash that a collection's URI ends with. */
  readonly from: string;
  readonly to: string;
  /** For directories that a MOVE of a file creates. */
  readonly access: number;
}

/** COPY and MOVE: of a file, or of a directory with all that is in it. */
export function copyMoveHandler({ dav_access: access }: DavSettings): Handler {
  return (request) => {
    if (request.contentLength > 0 || request.chunked) {
      logError(request, "error", "COPY and MOVE with body are unsupported");
      return 415;
    }
    const transfer = transferOf(request, access);
    if (typeof transfer === "number") return transfer;
    return runOperation(request, (log) => run(transfer, log));
  };
}

/** What a request asks for, or the status to answer, after the reason was logged. */
function transferOf(request: Request, access: number): Transfer | number {
  const { uri, method } = request;
  const destination = request.headers.get("destination");
  if (destination === undefined) {
    logError(request, "error", 'client sent no "Destination" header');
    return 400;
  }
  const target = readDestination(request, destination);
  if (target === undefined) return 400;
  const collection = uri.endsWith("/");
  if (destination.endsWith("/") !== collection) {
    const both = `both URI "${uri}" and "Destination" URI "${destination}"`;
    logError(request, "error", `${both} should be either collections or non-collections`);
    return 409;
  }
  if (!isWholeDepth(request)) return 400;
  const overwrite = readOverwrite(request);
  if (overwrite === undefined) return 400;
  const from = pathOf(request, uri);
  const to = pathOf(request, target);
  if (from === undefined || to === undefined) return 500;
  if (from === to) {
    const both = `both URI "${uri}" and "Destination" URI "${destination}"`;
    logError(request, "error", `${both} point to the same location`);
    return 403;
  }
  if (collection && (`${from}/`.startsWith(`${to}/`) || to.startsWith(`${from}/`))) {
    logError(request, "error", `"${uri}" could not be ${method}ed to collection "${destination}"`);
    return 403;
  }
  return { method, uri, destination, collection, overwrite, from, to, access };
}

/** A COPY may also say `Depth: 0`, which changes nothing: with a collection goes what is in it, as in nginx. */
function isWholeDepth(request: Request): boolean {
  const depth = readDepth(request.headers.get("depth"), "infinity", logOf(request));
  const copies = request.method === "COPY";
  if (depth === "infinity" || (copies && depth === "0")) return true;
  logError(request, "error", `"Depth" header must be ${copies ? "0 or infinity" : "infinity"}`);
  return false;
}

/** The path of a URI in the request's location. */
function pathOf(request: Request, uri: string): string | undefined {
  const own = request.uri;
  request.uri = uri;
  const mapped = mapUriToPath(request);
  request.uri = own;
  const path = mapped?.path.replace(/\/{2,}/g, "/");
  return path?.endsWith("/") ? path.slice(0, -1) : path;
}

async function run(transfer: Transfer, log: LogLine): Promise<number> {
  const { from, to, collection } = transfer;
  let source: fs.Stats;
  let target: fs.Stats | undefined;
  try {
    target = await lstatOf(to);
    const refusal = target === undefined ? 0 : refuseTarget(transfer, target, log);
    if (refusal !== 0) return refusal;
    const name = collection ? `${from}/` : from;
    source = await fileCall("lstat()", name, fs.promises.lstat(osPath(name)));
  } catch (error) {
    return davError(log, error, 404);
  }
  if (!source.isDirectory()) return transferFile(transfer, log);
  if (collection) return transferTree(transfer, source, target, log);
  log("error", `"${transfer.uri}" is collection`);
  return 400;
}

async function lstatOf(path: string): Promise<fs.Stats | undefined> {
  try {
    return await fileCall("lstat()", path, fs.promises.lstat(osPath(path)));
  } catch (error) {
    if (error instanceof FileCallError && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** The status to answer because of what the target is now; 0 if it may be replaced. */
function refuseTarget(transfer: Transfer, target: fs.Stats, log: LogLine): number {
  const { uri, method, destination, collection, to, overwrite } = transfer;
  if (target.isDirectory() && !collection) {
    log("error", `"${uri}" could not be ${method}ed to collection "${destination}"`);
    return 409;
  }
  if (overwrite) return 0;
  log("error", withErrno(`"${to}" could not be created`, "EEXIST"));
  return 412;
}

async function transferFile({ method, from, to, access }: Transfer, log: LogLine): Promise<number> {
  try {
    if (method === "COPY") await replaceByCopy(from, to, log);
    else await extRenameFile(from, to, { access: 0, time: -1, pathAccess: access }, log);
    return 204;
  } catch (error) {
    if (!(error instanceof FileCallError)) throw error;
    log("crit", error.message);
    return 500;
  }
}

/** A tree is copied beside its target, which is replaced when the copy is whole. */
async function transferTree(
  { method, from, to }: Transfer,
  source: fs.Stats,
  target: fs.Stats | undefined,
  log: LogLine,
): Promise<number> {
  const moves = method === "MOVE";
  let old = target;
  if (moves && (old === undefined || old.dev === source.dev)) {
    const status = await replaceTarget(from, to, old, log);
    if (status !== "EXDEV") return status;
    old = undefined;
  }
  let copy: string;
  try {
    const access = source.mode & 0o777;
    copy = await makeBeside(to, (name) => fileCall("mkdir()", to, fs.promises.mkdir(osPath(name), access)));
  } catch (error) {
    return davError(log, error, 404);
  }
  const whole = await inTurn(() => copyContents(from, copy, log));
  const status = whole ? await replaceTarget(copy, to, old, log) : 500;
  if (status !== 201) {
    await removePath(copy, true, log);
    return status === "EXDEV" ? 500 : status;
  }
  if (!moves) return 201;
  const removed = await removePath(from, true, log);
  return removed === 204 ? 201 : removed;
}

/** Gives a directory the name of the target, which is removed before. "EXDEV": it is on another file system. */
async function replaceTarget(
  from: string,
  to: string,
  target: fs.Stats | undefined,
  log: LogLine,
): Promise<number | "EXDEV"> {
  if (target !== undefined) {
    const removed = await removePath(to, target.isDirectory(), log);
    if (removed !== 204) return removed;
  }
  try {
    await rename(from, to);
    return 201;
  } catch (error) {
    if (error instanceof FileCallError && error.code === "EXDEV") return "EXDEV";
    return davError(log, error, 404);
  }
}
