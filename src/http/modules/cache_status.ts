import { cachesOf } from "../cache/cache.ts";
import { reportOf, statusJson } from "../cache/status.ts";
import { statusHtml } from "../cache/status_html.ts";
import { defineModule } from "../conf/module.ts";
import { pageDirective, pageHandler } from "../conf/status_page.ts";

/** `cache_status`: what the caches hold and have done, over all workers. */
export const cacheStatus = defineModule({
  name: "http_cache_status",
  directives: {
    cache_status: pageDirective(
      "Answers with what is in each cache and what it has done: responses and bytes by kind, hit ratio, entries, size, evictions, pending purges. The argument `format=` of a request chooses the other format.",
    ),
  },
  build: ({ cache_status: configured }, { http }) =>
    pageHandler(configured, (format) => {
      const reports = cachesOf(http.cycle).map(reportOf);
      return format === "json" ? statusJson(reports, Date.now()) : statusHtml(reports, Date.now());
    }),
  content: (handler) => handler,
});
