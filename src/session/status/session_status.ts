import { directive } from "../../config/directives.ts";
import { fail } from "../../config/schema.ts";
import { defineModule } from "../../http/conf/module.ts";
import { OK } from "../../http/core/codes.ts";
import { discardBody } from "../../http/core/discard_body.ts";
import { sendText } from "../../http/core/engine.ts";
import type { Handler } from "../../http/core/types.ts";
import { headText } from "../../wire/head_text.ts";
import { argument } from "../../wire/uri.ts";
import { zonesIn } from "../zone/zones.ts";
import { reportOf, statusJson } from "./status.ts";
import { statusHtml } from "./status_html.ts";

const FORMATS = {
  html: { contentType: headText("text/html"), write: statusHtml },
  json: { contentType: headText("application/json"), write: statusJson },
};
type Format = keyof typeof FORMATS;

/** `session_status`: what the session zones hold and what was done with them, over all workers. */
export const sessionStatus = defineModule({
  name: "http_session_status",
  directives: {
    session_status: directive<Format | undefined>({
      in: ["location"],
      args: [0, 1],
      syntax: "[html|json]",
      doc: "Answers with what is in each session zone and what was done with it: sessions and bytes, reads, writes, conflicts, what a limit refused, evictions, and of a group's zone whether its store is up and how many sessions wait for it. No session is shown. The argument `format=` of a request chooses the other format.",
      initial: () => undefined,
      defaultText: "html",
      inherit: false,
      read(at) {
        const [format = "html"] = at.args;
        return isFormat(format) ? format : fail(at, `invalid format "${format}"`);
      },
    }),
  },
  build({ session_status: format }, { http }): Handler | undefined {
    if (format === undefined) return undefined;
    return (request) => {
      if (request.method !== "GET" && request.method !== "HEAD") return 405;
      const broken = discardBody(request);
      if (broken !== OK) return broken;
      const asked = argument(request.args, "format") ?? format;
      const { contentType, write } = FORMATS[isFormat(asked) ? asked : format];
      const reports = [...zonesIn(http.cycle).values()].map(reportOf);
      return sendText(request, 200, contentType, write(reports, Date.now()));
    };
  },
  content: (handler) => handler,
});

function isFormat(text: string): text is Format {
  return Object.hasOwn(FORMATS, text);
}
