import { bufs, flag, number, refuse, size } from "../../../config/directives.ts";
import type { Directive } from "../../../config/types.ts";
import { Deflater } from "../../../sys/zlib.ts";
import { HTTP_IF, HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { typeList } from "../../conf/type_list.ts";
import { gzipQuality } from "../../core/accept_encoding.ts";
import { BODY_FILTER } from "../../core/filters.ts";
import type { Location } from "../../core/location.ts";
import { once } from "../../core/script.ts";
import { brotli } from "./brotli.ts";
import { unmarkTags } from "./coded_tags.ts";
import { type CoderSource, CodingFilter } from "./coding_filter.ts";
import { type ContentCoding, compressing, ratio } from "./compress.ts";
import { pooled } from "./pool.ts";
import { zstd } from "./zstd.ts";

/** By level, window and hash. */
const sources = new Map<number, CoderSource>();

/**
 * zlib with nginx's settings (ngx_http_gzip_filter_memory): for a body that is known to be shorter than half the window, the
 * smallest one that it fits in.
 */
function deflaters(level: number, windowBits: number, memLevel: number, length: number): CoderSource {
  let window = windowBits;
  let hash = memLevel;
  // zlib cannot use 262 bytes of its window.
  while (length > 0 && length < 2 ** (window - 1) - 262) {
    window--;
    hash--;
  }
  hash = Math.max(hash, 1);
  const key = (level << 8) | (window << 4) | hash;
  let source = sources.get(key);
  if (source === undefined) {
    const settings = { level, windowBits: window, memLevel: hash };
    source = pooled(() => new Deflater(settings));
    sources.set(key, source);
  }
  return source;
}

/** ngx_http_gzip_filter_module. `gzip_vary`, `gzip_proxied`, `gzip_http_version` and `gzip_disable` are the core's. */
export const gzip = defineModule({
  name: "http_gzip_filter",
  directives: {
    gzip: flag({
      in: HTTP_IF,
      default: false,
      doc: "Compresses responses with status 200, 403 or 404 for clients that accept gzip.",
    }),
    gzip_types: typeList({
      in: HTTP_LOCATION,
      default: ["text/html"],
      doc: "Media types that `gzip` applies to besides text/html; `*` for any.",
    }),
    gzip_min_length: size({
      in: HTTP_LOCATION,
      default: 20,
      doc: "How long a response must be to be compressed by gzip, if it says how long it is.",
    }),
    gzip_comp_level: number({
      in: HTTP_LOCATION,
      default: 1,
      min: 1,
      max: 9,
      doc: "How hard gzip tries: 1 is the fastest, 9 makes the shortest responses.",
    }),
    gzip_window: size({
      in: HTTP_LOCATION,
      default: 32 * 1024,
      check: checkWindow,
      doc: "How far back gzip looks for what is repeated: a power of two from 512 to 32k.",
    }),
    gzip_hash: size({
      in: HTTP_LOCATION,
      default: 64 * 1024,
      check: checkHash,
      doc: "Memory for where gzip has seen what: a power of two from 512 to 128k.",
    }),
    gzip_buffers: bufs({
      in: HTTP_LOCATION,
      default: { count: 32, size: 4096 },
      doc: "Accepted for compatibility: all responses are compressed into one buffer, whose content is passed on at once.",
    }),
    gzip_no_buffer: flag({
      in: HTTP_LOCATION,
      default: false,
      doc: "Accepted for compatibility: what gzip has made is always passed on at once.",
    }),
    postpone_gzipping: size({
      in: HTTP_LOCATION,
      default: 0,
      doc: "Accepted for compatibility: gzip's memory is reused from response to response.",
    }),
  },
  variables: {
    gzip_ratio: once((request) => ratio(request, "gzip", 2)),
  },
  build(settings): ContentCoding | undefined {
    if (!settings.gzip) return undefined;
    const { gzip_comp_level: level } = settings;
    const windowBits = Math.log2(settings.gzip_window);
    const memLevel = Math.log2(settings.gzip_hash) - 8;
    return {
      name: "gzip",
      types: settings.gzip_types,
      minLength: settings.gzip_min_length,
      quality: gzipQuality,
      filter: (request, length) =>
        new CodingFilter(request, BODY_FILTER.gzip, deflaters(level, windowBits, memLevel, length)),
    };
  },
  preaccess: (coding, location) => unmarkTags(codingsOf(coding, location).map(({ name }) => name)),
  headerFilters: { gzip: (coding, location) => compressing(codingsOf(coding, location)) },
});

/** All that are on, in the order in which they are preferred. The filter is the same for all. */
function codingsOf(coding: ContentCoding | undefined, location: Location): readonly ContentCoding[] {
  return [zstd.of(location), brotli.of(location), coding].filter((on) => on !== undefined);
}

/** Powers of two between the two, by what zlib makes of them. */
function checkWindow(value: number, at: Directive): void {
  if (!isPower(value, 512, 32 * 1024)) refuse(at, "must be 512, 1k, 2k, 4k, 8k, 16k, or 32k");
}

function checkHash(value: number, at: Directive): void {
  if (!isPower(value, 512, 128 * 1024)) refuse(at, "must be 512, 1k, 2k, 4k, 8k, 16k, 32k, 64k, or 128k");
}

function isPower(value: number, least: number, most: number): boolean {
  return value >= least && value <= most && Number.isInteger(Math.log2(value));
}
