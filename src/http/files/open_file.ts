import fs from "node:fs";
import { fail, type Scope } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { errorCode } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import type { SymlinkRule } from "../core/location.ts";
import type { Request } from "../core/request.ts";
import { type Template, template } from "../core/script.ts";
import { knownFile, type OpenFileCaching } from "./open_file_cache.ts";

/** A failed system call: the errno's name, and the call's name for the log. */
export class FileError extends Error {
  readonly code: string;
  readonly call: string;

  constructor(code: string, call: string) {
    super(`${call} failed: ${code}`);
    this.code = code;
    this.call = call;
  }
}

/** Errors of a path that leads to no file, and of one that may not be followed to its end. */
export const NOT_FOUND: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "ENAMETOOLONG"]);
export const FORBIDDEN: ReadonlySet<string> = new Set(["EACCES", "EMLINK", "ELOOP"]);

const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW, O_DIRECTORY } = fs.constants;
/** Missing from fs.constants: a descriptor that only names a place, for which search permission is enough. */
const O_PATH = 0o10000000;
const OPEN = O_RDONLY | O_NONBLOCK;
const SEARCH = OPEN | O_DIRECTORY | O_PATH;

/**
 * Opens a file or directory for reading; the caller closes it. Does not block on a FIFO without a writer. Throws FileError.
 * A path under `disable_symlinks` is never taken from open_file_cache.
 */
export function openFile(request: Request, path: string, rule: SymlinkRule | undefined): number {
  if (rule !== undefined) {
    const unchecked = uncheckedLength(request, path, rule);
    if (unchecked !== undefined) return openChecked(path, unchecked, rule.refuse);
  } else if (request.location.core.openFileCache !== undefined) {
    return openCached(request.location.core.openFileCache, path);
  }
  return openOr(path, OPEN, "open()");
}

/** stat() of a file. Throws FileError. */
export function statFile(request: Request, path: string, rule: SymlinkRule | undefined): fs.Stats {
  if (rule !== undefined && uncheckedLength(request, path, rule) !== undefined) {
    const fd = openFile(request, path, rule);
    try {
      return fs.fstatSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  }
  const caching = request.location.core.openFileCache;
  return rule === undefined && caching !== undefined ? statCached(caching, path) : statAnew(path);
}

/** Files are often looked for in vain, and nobody looks at the stack of such an error, which takes V8 longer than the call takes the system. */
function statAnew(path: string): fs.Stats {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return fs.statSync(osPath(path));
  } catch (error) {
    throw new FileError(errorCode(error), "stat()");
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

function openCached(caching: OpenFileCaching, path: string): number {
  const known = knownFile(caching, path);
  if (known?.error !== undefined) throw known.error;
  if (known !== undefined && known.fd >= 0) return openOr(`/proc/self/fd/${known.fd}`, OPEN, "open()");
  const fd = remembering(caching, path, () => openOr(path, OPEN, "open()"));
  const stats = fs.fstatSync(fd);
  const uses = (caching.files.find(path)?.uses ?? 0) + 1;
  caching.files.keep(path, stats, undefined, stats.isFile() && uses >= caching.minUses ? openAgain(fd) : -1);
  return fd;
}

function statCached(caching: OpenFileCaching, path: string): fs.Stats {
  const known = knownFile(caching, path);
  if (known?.error !== undefined) throw known.error;
  if (known?.stats !== undefined) return known.stats;
  const stats = remembering(caching, path, () => statAnew(path));
  const old = caching.files.find(path);
  const same = old?.stats !== undefined && old.stats.ino === stats.ino && old.stats.dev === stats.dev;
  caching.files.keep(path, stats, undefined, same ? old.fd : -1);
  return stats;
}

/** Runs a system call on a path, and keeps its error with open_file_cache_errors. */
function remembering<T>({ files, errors }: OpenFileCaching, path: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (errors && error instanceof FileError) files.keep(path, undefined, error, -1);
    else files.drop(path);
    throw error;
  }
}

/** The same file once more, for the cache; -1 where there are no descriptors left. */
function openAgain(fd: number): number {
  try {
    return fs.openSync(`/proc/self/fd/${fd}`, OPEN);
  } catch {
    return -1;
  }
}

/**
 * How long the leading part is that `from=` exempts; undefined if nothing is to be checked
 * (ngx_http_set_disable_symlinks).
 */
function uncheckedLength(request: Request, path: string, rule: SymlinkRule): number | undefined {
  const from = rule.from?.render(request) ?? "";
  if (from === "" || !path.startsWith(from)) return 0;
  if (from.length === path.length) return undefined;
  if (path[from.length] === "/") return from.length;
  return from.endsWith("/") ? from.length - 1 : 0;
}

/**
 * Opens the path component by component. Node has no openat(): the next component is opened below
 * /proc/self/fd, so that no component can be replaced by a link after it was checked.
 */
function openChecked(path: string, unchecked: number, refuse: SymlinkRule["refuse"]): number {
  const names = path.slice(unchecked).split("/");
  const last = names.pop() ?? "";
  const start = unchecked === 0 ? "/" : path.slice(0, unchecked);
  let at = openOr(start, SEARCH, "open()");
  try {
    for (const name of names) {
      if (name === "") continue;
      const fd = openComponent(at, name, SEARCH, refuse);
      fs.closeSync(at);
      at = fd;
    }
    if (last === "") return openOr(below(at, "."), OPEN, "openat()");
    return openComponent(at, last, OPEN, refuse);
  } finally {
    fs.closeSync(at);
  }
}

function below(directory: number, name: string): string {
  return `/proc/self/fd/${directory}/${name}`;
}

function openComponent(directory: number, name: string, flags: number, refuse: SymlinkRule["refuse"]): number {
  const path = below(directory, name);
  if (refuse === "all") return openOr(path, flags | O_NOFOLLOW, "openat()");
  const fd = openOr(path, flags, "openat()");
  let sameOwner = false;
  try {
    sameOwner = fs.fstatSync(fd).uid === fs.lstatSync(osPath(path)).uid;
  } catch (error) {
    fs.closeSync(fd);
    throw new FileError(errorCode(error), "openat()");
  }
  if (sameOwner) return fd;
  fs.closeSync(fd);
  throw new FileError("ELOOP", "openat()");
}

/** No stack, as in `statAnew`. */
function openOr(path: string, flags: number, call: string): number {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return fs.openSync(osPath(path), flags);
  } catch (error) {
    throw new FileError(errorCode(error), call);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** Reads `disable_symlinks off | on | if_not_owner [from=part]`. */
export function readDisableSymlinks(at: Directive, scope: Scope): SymlinkRule | undefined {
  let refuse: SymlinkRule["refuse"] | "none" | undefined;
  let from: Template | undefined;
  for (const arg of at.args) {
    if (arg === "off") refuse = "none";
    else if (arg === "if_not_owner") refuse = "of another owner";
    else if (arg === "on") refuse = "all";
    else if (arg.startsWith("from=")) from = template(scope, at, arg.slice("from=".length));
    else fail(at, `invalid parameter "${arg}"`);
  }
  if (refuse === undefined) fail(at, '"disable_symlinks" must have "off", "on" or "if_not_owner" parameter');
  if (at.args.length > 1 && from === undefined) fail(at, `duplicate parameters "${at.args[0]} ${at.args[1]}"`);
  if (refuse === "none")
    return from === undefined ? undefined : fail(at, '"from=" cannot be used with "off" parameter');
  return { refuse, from };
}
