import type { BrotliCompress } from "node:zlib";
import { bufs, flag, number, refuse, size } from "../../../config/directives.ts";
import { BrotliEncoder } from "../../../sys/brotli.ts";
import { zlib } from "../../../sys/builtin.ts";
import { headText } from "../../../wire/head_text.ts";
import { HTTP_IF, HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { typeList } from "../../conf/type_list.ts";
import { codingQuality } from "../../core/accept_encoding.ts";
import { BODY_FILTER } from "../../core/filters.ts";
import type { Request } from "../../core/request.ts";
import { once } from "../../core/script.ts";
import { type CoderSource, CodingFilter } from "./coding_filter.ts";
import { type ContentCoding, ratio } from "./compress.ts";
import { pooled } from "./pool.ts";
import { type FileCoding, modeOf } from "./precompressed.ts";
import { hasThread, ThreadedFilter } from "./threaded_filter.ts";

/** From this level on a block of 32 KiB takes several ms, at 11 some hundred. */
const THREADED = 8;
/** In place of one of those while too many are at work: 2 MiB for each response. */
const WITHOUT_THREAD = 5;

const MIN_WINDOW_BITS = 10;
const MAX_WINDOW_BITS = 24;

/** ngx_http_brotli_filter_module (google/ngx_brotli). The filter itself is gzip's. */
export const brotli = defineModule({
  name: "http_brotli_filter",
  configure: "--add-module=ngx_brotli",
  directives: {
    brotli: flag({
      in: HTTP_IF,
      default: false,
      doc: "Compresses responses with status 200, 403 or 404 for clients that accept Brotli, `br`. Of codings that are on, the client gets the one that it wants most by `q=`; of those it wants alike, Zstandard before Brotli before gzip.",
    }),
    brotli_types: typeList({
      in: HTTP_LOCATION,
      default: ["text/html"],
      doc: "Media types that `brotli` applies to besides text/html; `*` for any.",
    }),
    brotli_min_length: size({
      in: HTTP_LOCATION,
      default: 20,
      doc: "How long a response must be to be compressed by Brotli, if it says how long it is.",
    }),
    brotli_comp_level: number({
      in: HTTP_LOCATION,
      default: 6,
      min: 0,
      max: 11,
      doc: "How hard Brotli tries: 0 is the fastest, 11 makes the shortest responses. From 8 on it works in another thread, for 8 responses of a worker at a time; what comes meanwhile is compressed at level 5.",
    }),
    brotli_window: size({
      in: HTTP_LOCATION,
      default: 512 * 1024,
      doc: "How far back Brotli looks for what is repeated: a power of two from 1k to 16m.",
      check(value, at) {
        const bits = Math.log2(value);
        if (bits >= MIN_WINDOW_BITS && bits <= MAX_WINDOW_BITS && Number.isInteger(bits)) return;
        refuse(at, "must be 1k, 2k, 4k, 8k, 16k, 32k, 64k, 128k, 256k, 512k, 1m, 2m, 4m, 8m or 16m");
      },
    }),
    brotli_buffers: bufs({
      in: HTTP_LOCATION,
      default: { count: 32, size: 4096 },
      doc: "Accepted for compatibility, as by the module of that name.",
    }),
  },
  variables: {
    brotli_ratio: once((request) => ratio(request, "br", 2)),
  },
  build(settings): ContentCoding | undefined {
    if (!settings.brotli) return undefined;
    const { brotli_comp_level: level } = settings;
    const windowBits = Math.log2(settings.brotli_window);
    return {
      name: "br",
      types: settings.brotli_types,
      minLength: settings.brotli_min_length,
      quality,
      filter(request, length) {
        const window = windowFor(length, windowBits);
        if (level < THREADED) return new CodingFilter(request, BODY_FILTER.gzip, encoders(level, window));
        if (hasThread()) return new ThreadedFilter(request, () => threadedStream(level, window));
        return new CodingFilter(request, BODY_FILTER.gzip, encoders(WITHOUT_THREAD, window));
      },
    };
  },
});

const BR = headText("br");

/** ngx_http_brotli_static_module (google/ngx_brotli). The handler itself is gzip_static's. */
export const brotliStatic = defineModule({
  name: "http_brotli_static",
  directives: {
    brotli_static: modeOf(
      "Answers with the file `x.br` in place of `x`: to clients that accept Brotli, `br`, or always. The order of preference is that of `brotli`.",
    ),
  },
  build: ({ brotli_static: mode }): FileCoding | undefined =>
    mode === "off" ? undefined : { name: BR, suffix: ".br", always: mode === "always", quality },
});

function quality(request: Request): number {
  return codingQuality(request, "br");
}

/** By level and window. */
const sources = new Map<number, CoderSource>();

function encoders(level: number, windowBits: number): CoderSource {
  const key = (level << 8) | windowBits;
  let source = sources.get(key);
  if (source === undefined) {
    source = pooled(() => new BrotliEncoder(level, windowBits));
    sources.set(key, source);
  }
  return source;
}

/** For a body whose length is known, the smallest window that it fits in. */
function windowFor(length: number, windowBits: number): number {
  return length <= 0 ? windowBits : Math.min(windowBits, Math.max(MIN_WINDOW_BITS, Math.ceil(Math.log2(length))));
}

function threadedStream(level: number, windowBits: number): BrotliCompress {
  const { constants, createBrotliCompress } = zlib();
  return createBrotliCompress({
    params: { [constants.BROTLI_PARAM_QUALITY]: level, [constants.BROTLI_PARAM_LGWIN]: windowBits },
  });
}
