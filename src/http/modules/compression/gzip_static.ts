import { headText } from "../../../wire/head_text.ts";
import { defineModule } from "../../conf/module.ts";
import { gzipQuality } from "../../core/accept_encoding.ts";
import { brotliStatic } from "./brotli.ts";
import { type FileCoding, modeOf, precompressed } from "./precompressed.ts";
import { zstdStatic } from "./zstd.ts";

const GZIP = headText("gzip");

/** ngx_http_gzip_static_module: `x.gz` in place of `x`. */
export const gzipStatic = defineModule({
  name: "http_gzip_static",
  configure: "--with-http_gzip_static_module",
  directives: {
    gzip_static: modeOf(
      "Answers with the file `x.gz` in place of `x`: to clients that accept gzip, by the rules of `gzip`, or always. Whether `x` is there too is not looked at.",
    ),
  },
  build: ({ gzip_static: mode }): FileCoding | undefined =>
    mode === "off" ? undefined : { name: GZIP, suffix: ".gz", always: mode === "always", quality: gzipQuality },
  contentPhase: (coding, location) =>
    precompressed([zstdStatic.of(location), brotliStatic.of(location), coding].filter((on) => on !== undefined)),
});
