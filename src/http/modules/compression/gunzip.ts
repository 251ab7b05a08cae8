import { bufs, flag } from "../../../config/directives.ts";
import { Inflater } from "../../../sys/zlib.ts";
import { lowercase } from "../../../wire/latin1.ts";
import { HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { gzipQuality } from "../../core/accept_encoding.ts";
import { OK } from "../../core/codes.ts";
import { addBodyFilter, BODY_FILTER } from "../../core/filters.ts";
import type { Request } from "../../core/request.ts";
import { bodyChanges } from "../../core/response.ts";
import { CodingFilter } from "./coding_filter.ts";
import { pooled } from "./pool.ts";

/** ngx_http_gunzip_filter_module: what is compressed, expanded for clients that do not accept gzip. */
export const gunzip = defineModule({
  name: "http_gunzip_filter",
  configure: "--with-http_gunzip_module",
  directives: {
    gunzip: flag({
      in: HTTP_LOCATION,
      default: false,
      doc: "Expands responses with `Content-Encoding: gzip` for clients that do not accept gzip, by the rules of `gzip`.",
    }),
    gunzip_buffers: bufs({
      in: HTTP_LOCATION,
      default: { count: 32, size: 4096 },
      doc: "Accepted for compatibility: all responses are expanded into one buffer, whose content is passed on at once.",
    }),
  },
  headerFilters: { gunzip: (settings) => (settings.gunzip ? expand : undefined) },
});

const inflaters = pooled(() => new Inflater());

function expand(request: Request): number {
  const { response } = request;
  const coding = response.headers.get("content-encoding");
  if (coding === undefined || lowercase(coding) !== "gzip") return OK;
  request.gzipVary = true;
  if (gzipQuality(request) > 0) return OK;
  response.headers.remove("content-encoding");
  bodyChanges(response);
  if (!request.headerOnly) addBodyFilter(request, new CodingFilter(request, BODY_FILTER.gunzip, inflaters));
  return OK;
}
