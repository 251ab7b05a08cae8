import { type CompiledRegex, RegexMatchError } from "../../../regex/regex.ts";
import { logError } from "../../core/log_context.ts";
import { ModuleContext } from "../../core/module_context.ts";
import type { Request } from "../../core/request.ts";

/** How a location splits URIs. */
export interface PathSplit {
  /** fastcgi_split_path_info */
  readonly regex: CompiledRegex | undefined;
  /** fastcgi_index */
  readonly index: string;
}

interface Split {
  /** Of the location where it was split. */
  readonly regex: CompiledRegex | undefined;
  /** The URI that was split. */
  readonly uri: string;
  readonly scriptName: string;
  readonly pathInfo: string;
}

const splits = new ModuleContext<Split>();

/**
 * Splits the request's URI (ngx_http_fastcgi_split). A URI that is the script's name already was made of it by try_files, and
 * keeps what followed the name; in nginx $fastcgi_path_info is empty then.
 */
function split(request: Request, { regex }: PathSplit): Split {
  const { uri } = request;
  const known = splits.get(request);
  if (known !== undefined && known.regex === regex && (known.uri === uri || known.scriptName === uri)) return known;
  const captures: string[] = [];
  const made =
    regex !== undefined && matches(request, regex, uri, captures)
      ? { regex, uri, scriptName: captures[1] ?? "", pathInfo: captures[2] ?? "" }
      : { regex, uri, scriptName: uri, pathInfo: "" };
  splits.set(request, made);
  return made;
}

function matches(request: Request, regex: CompiledRegex, uri: string, captures: string[]): boolean {
  try {
    return regex.exec(uri, captures);
  } catch (error) {
    if (!(error instanceof RegexMatchError)) throw error;
    logError(request, "alert", error.message);
    return false;
  }
}

/** $fastcgi_script_name */
export function scriptName(request: Request, settings: PathSplit): string {
  const name = settings.regex === undefined ? request.uri : split(request, settings).scriptName;
  return name.endsWith("/") ? name + settings.index : name;
}

/** $fastcgi_path_info */
export function pathInfo(request: Request, settings: PathSplit): string {
  return settings.regex === undefined ? "" : split(request, settings).pathInfo;
}
