import { defineModule } from "../../http/conf/module.ts";
import { pageDirective, pageHandler } from "../../http/conf/status_page.ts";
import { zonesIn } from "../zone/zones.ts";
import { reportOf, statusJson } from "./status.ts";
import { statusHtml } from "./status_html.ts";

/** `session_status`: what the session zones hold and what was done with them, over all workers. */
export const sessionStatus = defineModule({
  name: "http_session_status",
  directives: {
    session_status: pageDirective(
      "Answers with what is in each session zone and what was done with it: sessions and bytes, reads, writes, conflicts, what a limit refused, evictions, and of a group's zone whether its store is up and how many sessions wait for it. No session is shown. The argument `format=` of a request chooses the other format.",
    ),
  },
  build: ({ session_status: configured }, { http }) =>
    pageHandler(configured, (format) => {
      const reports = [...zonesIn(http.cycle).values()].map(reportOf);
      return format === "json" ? statusJson(reports, Date.now()) : statusHtml(reports, Date.now());
    }),
  content: (handler) => handler,
});
