import type { ZstdCompress } from "node:zlib";
import { bufs, directive, flag, refuse, size } from "../../../config/directives.ts";
import { fail } from "../../../config/schema.ts";
import { zlib } from "../../../sys/builtin.ts";
import { ZstdEncoder } from "../../../sys/zstd.ts";
import { headText } from "../../../wire/head_text.ts";
import { HTTP_IF, HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { typeList } from "../../conf/type_list.ts";
import { codingQuality } from "../../core/accept_encoding.ts";
import { BODY_FILTER } from "../../core/filters.ts";
import type { Request } from "../../core/request.ts";
import { type CoderSource, CodingFilter } from "./coding_filter.ts";
import { type ContentCoding, ratio } from "./compress.ts";
import { pooled } from "./pool.ts";
import { type FileCoding, modeOf } from "./precompressed.ts";
import { hasThread, ThreadedFilter } from "./threaded_filter.ts";

/** ZSTD_minCLevel() and ZSTD_maxCLevel() */
const MIN_LEVEL = -131_072;
const MAX_LEVEL = 22;
/** From this level on windows would be larger than the 8 MiB that clients have to have (RFC 9659). */
const LARGE_WINDOW = 20;
const MAX_WINDOW_LOG = 23;
const MAX_TABLE_LOG = MAX_WINDOW_LOG + 1;
/** From this level on a block of 32 KiB takes several ms. */
const THREADED = 10;
/** In place of one of those while too many are at work: 3 MiB for each response. */
const WITHOUT_THREAD = 3;

/** ngx_http_zstd_filter_module (tokers/zstd-nginx-module). The filter itself is gzip's. */
export const zstd = defineModule({
  name: "http_zstd_filter",
  configure: "--add-module=zstd-nginx-module",
  directives: {
    zstd: flag({
      in: HTTP_IF,
      default: false,
      doc: "Compresses responses with status 200, 403 or 404 for clients that accept Zstandard, `zstd`. The order of preference is that of `brotli`.",
    }),
    zstd_types: typeList({
      in: HTTP_LOCATION,
      default: ["text/html"],
      doc: "Media types that `zstd` applies to besides text/html; `*` for any.",
    }),
    zstd_min_length: size({
      in: HTTP_LOCATION,
      default: 20,
      doc: "How long a response must be to be compressed by Zstandard, if it says how long it is.",
    }),
    zstd_comp_level: directive<number>({
      in: HTTP_LOCATION,
      args: [1, 1],
      syntax: "level",
      initial: () => 1,
      defaultText: "1",
      doc: "How hard Zstandard tries: from -131072, the fastest, to 22, which makes the shortest responses. Levels from 20 on have a window of 8 MiB, the most that clients must have (RFC 9659). From 10 on it works in another thread, for 8 responses of a worker at a time; what comes meanwhile is compressed at level 3.",
      read(at) {
        const [text] = at.args;
        if (!/^-?\d{1,9}$/.test(text)) refuse(at, "invalid number");
        const level = Number(text);
        if (level !== 0 && level >= MIN_LEVEL && level <= MAX_LEVEL) return level;
        return fail(at, `zstd compress level must between ${MIN_LEVEL} and ${MAX_LEVEL} excluding 0`);
      },
    }),
    zstd_buffers: bufs({
      in: HTTP_LOCATION,
      default: { count: 32, size: 4096 },
      doc: "Accepted for compatibility: all responses are compressed into one buffer, whose content is passed on at once.",
    }),
  },
  variables: {
    zstd_ratio: { get: (request) => ratio(request, "zstd", 3) },
  },
  build(settings): ContentCoding | undefined {
    if (!settings.zstd) return undefined;
    const { zstd_comp_level: level } = settings;
    return {
      name: "zstd",
      types: settings.zstd_types,
      minLength: settings.zstd_min_length,
      quality,
      filter(request) {
        if (level < THREADED) return new CodingFilter(request, BODY_FILTER.gzip, encoders(level));
        if (hasThread()) return new ThreadedFilter(request, () => threadedStream(level));
        return new CodingFilter(request, BODY_FILTER.gzip, encoders(WITHOUT_THREAD));
      },
    };
  },
});

const ZSTD = headText("zstd");

/** ngx_http_zstd_static_module (tokers/zstd-nginx-module). The handler itself is gzip_static's. */
export const zstdStatic = defineModule({
  name: "http_zstd_static",
  directives: {
    zstd_static: modeOf(
      "Answers with the file `x.zst` in place of `x`: to clients that accept Zstandard, `zstd`, or always. The order of preference is that of `brotli`.",
    ),
  },
  build: ({ zstd_static: mode }): FileCoding | undefined =>
    mode === "off" ? undefined : { name: ZSTD, suffix: ".zst", always: mode === "always", quality },
});

function quality(request: Request): number {
  return codingQuality(request, "zstd");
}

/** By level. */
const sources = new Map<number, CoderSource>();

function encoders(level: number): CoderSource {
  let source = sources.get(level);
  if (source === undefined) {
    source = pooled(() => new ZstdEncoder(level));
    sources.set(level, source);
  }
  return source;
}

function threadedStream(level: number): ZstdCompress {
  const { constants, createZstdCompress } = zlib();
  const params = { [constants.ZSTD_c_compressionLevel]: level };
  if (level >= LARGE_WINDOW) {
    params[constants.ZSTD_c_windowLog] = MAX_WINDOW_LOG;
    // Larger tables, of up to 600 MiB, are for larger windows.
    params[constants.ZSTD_c_hashLog] = MAX_TABLE_LOG;
    params[constants.ZSTD_c_chainLog] = MAX_TABLE_LOG;
  }
  return createZstdCompress({ params });
}
