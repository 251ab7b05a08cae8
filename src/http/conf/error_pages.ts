import { fail, type Scope } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { template } from "../core/script.ts";
import type { ErrorPage } from "../core/types.ts";

/** One `error_page` line after the ones before it. */
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
