import { fail } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import type { TempPath } from "../core/temp_file.ts";

const METHODS = [
  ...["GET", "HEAD", "POST", "PUT", "DELETE", "MKCOL", "COPY", "MOVE", "OPTIONS"],
  ...["PROPFIND", "PROPPATCH", "LOCK", "UNLOCK", "PATCH"],
];

/** `limit_except`: the methods left alone. */
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

/** `path [level1 [level2 [level3]]]`, as client_body_temp_path and proxy_temp_path take it. */
export function readTempPath(at: Directive): TempPath {
  const levels = at.args
    .slice(1)
    .map((level) => (/^[123]$/.test(level) ? Number(level) : fail(at, `invalid value "${level}"`)));
  return { path: at.args[0], levels };
}

/** Whether a value holds `$variable` or `${variable}`. */
export function names(text: string, variable: string): boolean {
  return new RegExp(`\\$\\{?${variable}`).test(text);
}
