import { enumeration, flag } from "../../../config/directives.ts";
import { type HeadText, headText } from "../../../wire/head_text.ts";
import { argument } from "../../../wire/uri.ts";
import { HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { DECLINED, DONE, OK } from "../../core/codes.ts";
import { discardBody } from "../../core/discard_body.ts";
import { sendHeader } from "../../core/engine.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { closeDirectory, openDirectory } from "../../files/directory.ts";
import { mapUriToPath } from "../../files/file_root.ts";
import { Listing } from "./listing.ts";
import { htmlText, jsonText, type ListingText, xmlText } from "./listing_text.ts";

type Format = "html" | "xml" | "json" | "jsonp";

interface Settings {
  readonly autoindex: boolean;
  readonly autoindex_format: Format;
  readonly autoindex_localtime: boolean;
  readonly autoindex_exact_size: boolean;
}

/** ngx_http_autoindex_module: lists a directory. */
export const autoindex = defineModule({
  name: "http_autoindex",
  directives: {
    autoindex: flag({
      in: HTTP_LOCATION,
      default: false,
      doc: "Answers a URI that ends with a slash, where there is no index file, with a listing of the directory.",
    }),
    autoindex_exact_size: flag({
      in: HTTP_LOCATION,
      default: true,
      doc: "Whether an HTML listing has exact sizes, or sizes rounded to kilobytes, megabytes and gigabytes.",
    }),
    autoindex_format: enumeration({
      in: HTTP_LOCATION,
      values: ["html", "json", "jsonp", "xml"],
      default: "html",
      doc: "The format of listings. In JSONP the function is that of the argument `callback`; without it the listing is JSON.",
    }),
    autoindex_localtime: flag({
      in: HTTP_LOCATION,
      default: false,
      doc: "Whether an HTML listing has times in the local time zone, or in UTC.",
    }),
  },
  contentPhase: (settings) => (settings.autoindex ? (request) => list(request, settings) : undefined),
});

const TYPES: Readonly<Record<Format, HeadText>> = {
  html: headText("text/html"),
  json: headText("application/json"),
  jsonp: headText("application/javascript"),
  xml: headText("text/xml"),
};
const UTF_8 = headText("utf-8");

function list(request: Request, settings: Settings): number {
  const { uri, method, response } = request;
  if (!uri.endsWith("/") || (method !== "GET" && method !== "HEAD")) return DECLINED;
  const broken = discardBody(request);
  if (broken !== OK) return broken;
  const mapped = mapUriToPath(request);
  if (mapped === undefined) return 500;
  const path = mapped.path.length > 1 ? mapped.path.slice(0, -1) : mapped.path;
  let format = settings.autoindex_format;
  let callback = "";
  if (format === "jsonp") {
    callback = argument(request.args, "callback") ?? "";
    if (!isCallback(request, callback)) return 400;
    if (callback === "") format = "json";
  }
  const directory = openDirectory(request, path);
  if (typeof directory === "number") return directory;

  response.status = 200;
  response.contentType = TYPES[format];
  if (format === "xml") response.charset = UTF_8;
  const code = sendHeader(request);
  if (code !== OK || request.headerOnly) {
    closeDirectory(request, directory, path);
    return code;
  }
  new Listing(request, directory, path, textOf(request, format, callback, settings)).begin();
  return DONE;
}

function textOf(request: Request, format: Format, callback: string, settings: Settings): ListingText {
  if (format === "xml") return xmlText();
  if (format !== "html") return jsonText(callback);
  const utf8 = request.response.charset?.toLowerCase() === "utf-8";
  const offset = settings.autoindex_localtime ? -60 * new Date().getTimezoneOffset() : 0;
  return htmlText(request.uri, utf8, settings.autoindex_exact_size, offset);
}

/** Whether it may be a function's name in JSONP: nothing that a script could be made of. */
function isCallback(request: Request, name: string): boolean {
  if (name.length > 128) logError(request, "info", `client sent too long callback name: "${name}"`);
  else if (/[^a-zA-Z0-9_.]/.test(name)) logError(request, "info", `client sent invalid callback name: "${name}"`);
  else return true;
  return false;
}
