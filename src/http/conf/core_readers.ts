import { size } from "../../config/directives.ts";
import { fail, type Scope } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { compileRegex } from "../../regex/regex.ts";
import type { ErrorPage, GzipDisable } from "../core/location.ts";
import { template } from "../core/script.ts";
import type { TempPath } from "../core/temp_file.ts";
import { HTTP_SERVER } from "./contexts.ts";
import { namePath } from "./paths.ts";

/** nginx's bounds of a memory pool (NGX_MIN_POOL_SIZE, NGX_POOL_ALIGNMENT), which a configuration for it keeps. */
const LEAST_POOL = 112;
const POOL_UNIT = 16;

/** The size of one of nginx's memory pools, which has no effect here. */
export function poolSize(defaultText: string) {
  return size({
    in: HTTP_SERVER,
    doc: "Accepted for compatibility: memory is managed by the JavaScript engine.",
    defaultText,
    check(value, at) {
      if (value < LEAST_POOL) fail(at, `the pool size must be no less than ${LEAST_POOL}`);
      if (value % POOL_UNIT !== 0) fail(at, `the pool size must be a multiple of ${POOL_UNIT}`);
    },
  });
}

const METHODS = [
  ...["GET", "HEAD", "POST", "PUT", "DELETE", "MKCOL", "COPY", "MOVE", "OPTIONS"],
  ...["PROPFIND", "PROPPATCH", "LOCK", "UNLOCK", "PATCH"],
];

/** `limit_except`: the methods it does not apply to. */
export function readMethods(at: Directive): ReadonlySet<string> {
  const methods = new Set<string>();
  for (const arg of at.args) {
    const method = arg.toUpperCase();
    if (!METHODS.includes(method)) fail(at, `invalid method "${arg}"`);
    methods.add(method);
  }
  if (methods.has("GET")) methods.add("HEAD");
  return methods;
}

/** Appends one `gzip_disable` line to the previous ones. */
export function readGzipDisable(at: Directive, _scope: Scope, previous: GzipDisable | undefined): GzipDisable {
  const patterns = [...(previous?.patterns ?? [])];
  let msie6 = previous?.msie6 ?? false;
  for (const arg of at.args) {
    if (arg === "msie6") {
      msie6 = true;
      continue;
    }
    const regex = compileRegex(arg, true);
    if ("error" in regex) fail(at, regex.error);
    patterns.push(regex);
  }
  return { msie6, patterns };
}

/** `path [level1 [level2 [level3]]]`, as client_body_temp_path and proxy_temp_path take it. */
export function readTempPath(at: Directive, scope: Scope): TempPath {
  const levels = at.args
    .slice(1)
    .map((level) => (/^[123]$/.test(level) ? Number(level) : fail(at, `invalid value "${level}"`)));
  namePath(at, scope, { path: at.args[0], levels, shared: true });
  return { path: at.args[0], levels };
}

/** Whether a value has `$variable` or `${variable}` in it. */
export function usesVariable(text: string, variable: string): boolean {
  return new RegExp(`\\$\\{?${variable}`).test(text);
}

/** Appends one `error_page` line to the previous ones. */
export function readErrorPage(at: Directive, scope: Scope, previous: readonly ErrorPage[] | undefined): ErrorPage[] {
  const uri = template(scope, at, at.args.at(-1) ?? "");
  const question = uri.constant?.startsWith("/") ? uri.constant.indexOf("?") : -1;
  const path = question < 0 ? uri.constant : uri.constant?.slice(0, question);
  const args = question < 0 ? "" : (uri.constant?.slice(question + 1) ?? "");
  return [...(previous ?? []), ...statusesOf(at, { uri, path, args })];
}

function statusesOf(at: Directive, page: Omit<ErrorPage, "status" | "overwrite">): ErrorPage[] {
  const statuses = at.args.slice(0, -1);
  let overwrite = -1;
  const last = statuses.at(-1) ?? "";
  if (last.startsWith("=")) {
    if (statuses.length === 1) fail(at, `invalid value "${last}"`);
    if (last.length > 1 && !/^=\d+$/.test(last)) fail(at, `invalid value "${last}"`);
    overwrite = last.length > 1 ? Number(last.slice(1)) : 0;
    statuses.pop();
  }
  return statuses.map((word) => {
    const status = Number(word);
    if (!/^\d+$/.test(word) || status === 499) fail(at, `invalid value "${word}"`);
    if (status < 300 || status > 599) fail(at, `value "${word}" must be between 300 and 599`);
    const special = overwrite === -1 && status >= 494 && status <= 497;
    return { status, overwrite: special ? 400 : overwrite, ...page };
  });
}
