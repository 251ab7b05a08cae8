import { directive } from "../../config/directives.ts";
import { fail } from "../../config/schema.ts";
import { headText } from "../../wire/head_text.ts";
import { argument } from "../../wire/uri.ts";
import { cachesOf } from "../cache/cache.ts";
import { reportOf, statusJson } from "../cache/status.ts";
import { statusHtml } from "../cache/status_html.ts";
import { defineModule } from "../conf/module.ts";
import { OK } from "../core/codes.ts";
import { discardBody } from "../core/discard_body.ts";
import { sendText } from "../core/engine.ts";
import type { Handler } from "../core/types.ts";

const FORMATS = {
  html: { contentType: headText("text/html"), write: statusHtml },
  json: { contentType: headText("application/json"), write: statusJson },
};
type Format = keyof typeof FORMATS;

/** `cache_status`: what the caches hold and have done, over all workers. */
export const cacheStatus = defineModule({
  name: "http_cache_status",
  directives: {
    cache_status: directive<Format | undefined>({
      in: ["location"],
      args: [0, 1],
      syntax: "[html|json]",
      doc: "Answers with what is in each cache and what it has done: responses and bytes by kind, hit ratio, entries, size, evictions, pending purges. The argument `format=` of a request chooses the other format.",
      initial: () => undefined,
      defaultText: "html",
      inherit: false,
      read(at) {
        const [format = "html"] = at.args;
        return isFormat(format) ? format : fail(at, `invalid format "${format}"`);
      },
    }),
  },
  build({ cache_status: format }, { http }): Handler | undefined {
    if (format === undefined) return undefined;
    return (request) => {
      if (request.method !== "GET" && request.method !== "HEAD") return 405;
      const broken = discardBody(request);
      if (broken !== OK) return broken;
      const asked = argument(request.args, "format") ?? format;
      const { contentType, write } = FORMATS[isFormat(asked) ? asked : format];
      return sendText(request, 200, contentType, write(cachesOf(http.cycle).map(reportOf), Date.now()));
    };
  },
  content: (handler) => handler,
});

function isFormat(text: string): text is Format {
  return Object.hasOwn(FORMATS, text);
}
