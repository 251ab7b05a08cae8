import { flag, size } from "../../../config/directives.ts";
import { now, wallAt } from "../../../sys/clock.ts";
import { strftime } from "../../../sys/strftime.ts";
import { HTTP_IF, HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { inTypeList, type TypeList, typeList } from "../../conf/type_list.ts";
import { OK } from "../../core/codes.ts";
import { addBodyFilter } from "../../core/filters.ts";
import { Gatherer } from "../../core/gatherer.ts";
import type { Request } from "../../core/request.ts";
import { clearLastModified, weakEtag } from "../../core/response.ts";
import type { Variables } from "../../core/script.ts";
import { typeAndCharset } from "../../files/content_type.ts";
import { Context, contexts, DEFAULT_TIMEFMT } from "./context.ts";
import { SsiFilter } from "./filter.ts";

interface SsiSettings {
  readonly on: boolean;
  readonly silent: boolean;
  readonly lastModified: boolean;
  readonly valueLength: number;
  readonly types: TypeList;
  readonly variables: Variables;
}

/** ngx_http_ssi_filter_module: commands in pages (Server Side Includes). */
export const ssi = defineModule({
  name: "http_ssi_filter",
  directives: {
    ssi: flag({ in: HTTP_IF, doc: "Does what the SSI commands in responses say.", default: false }),
    ssi_silent_errors: flag({
      in: HTTP_LOCATION,
      doc: "Shows nothing in place of a command that failed; else what `config errmsg` says.",
      default: false,
    }),
    ssi_last_modified: flag({
      in: HTTP_LOCATION,
      doc: "Whether the response keeps Last-Modified and, as a weak one, ETag; else both are removed.",
      default: false,
    }),
    ssi_value_length: size({
      in: HTTP_LOCATION,
      doc: "How long the value of a command's parameter may be.",
      default: 255,
    }),
    ssi_types: typeList({
      in: HTTP_LOCATION,
      doc: "Media types of the responses whose commands are looked for besides text/html; `*` for any.",
      default: ["text/html"],
    }),
    ssi_min_file_chunk: size({
      in: HTTP_LOCATION,
      doc: "Accepted for compatibility: a page that is searched for commands is sent from memory.",
      default: 1024,
    }),
    ssi_ignore_recycled_buffers: flag({
      in: HTTP_LOCATION,
      doc: "Accepted for compatibility: buffers are not recycled.",
      default: false,
    }),
  },
  variables: {
    date_local: { get: (request) => dateText(request, false) },
    date_gmt: { get: (request) => dateText(request, true) },
  },
  build: (settings, { http }): SsiSettings => ({
    on: settings.ssi,
    silent: settings.ssi_silent_errors,
    lastModified: settings.ssi_last_modified,
    valueLength: settings.ssi_value_length,
    types: settings.ssi_types,
    variables: http.variables,
  }),
  headerFilters: {
    ssi: (settings) => (settings.on ? (request) => filterHeader(request, settings) : undefined),
  },
});

function filterHeader(request: Request, settings: SsiSettings): number {
  const { response } = request;
  if (response.contentLength === 0 || !inTypeList(settings.types, typeAndCharset(response).type)) return OK;
  const context = new Context(request, settings.variables, new Gatherer());
  contexts.set(request, context);
  addBodyFilter(request, new SsiFilter(context, settings.valueLength, settings.silent));
  if (request.subrequest !== undefined) return OK;
  response.contentLength = -1;
  response.allowRanges = false;
  response.headers.remove("accept-ranges");
  if (settings.lastModified) {
    weakEtag(response);
  } else {
    clearLastModified(response);
    response.etag = undefined;
  }
  return OK;
}

/** $date_local, $date_gmt, as `config timefmt` of the response says. */
function dateText(request: Request, utc: boolean): string | undefined {
  const seconds = Math.floor(wallAt(now()) / 1000);
  const format = contexts.get(request)?.timefmt ?? DEFAULT_TIMEFMT;
  return format === "%s" ? String(seconds) : strftime(format, seconds, utc);
}
