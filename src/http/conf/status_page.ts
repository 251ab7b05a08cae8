import { directive } from "../../config/directives.ts";
import { type DirectiveSpec, fail } from "../../config/schema.ts";
import { headText } from "../../wire/head_text.ts";
import { argument } from "../../wire/uri.ts";
import { OK } from "../core/codes.ts";
import { discardBody } from "../core/discard_body.ts";
import { sendText } from "../core/engine.ts";
import type { Request } from "../core/request.ts";
import type { Handler } from "../core/types.ts";

/** `cache_status`, `session_status`, `cluster_status`: a location that answers with a page, or with the same as JSON. */

export type PageFormat = "html" | "json";

const TYPES = { html: headText("text/html"), json: headText("application/json") } as const;

export function pageDirective(doc: string): DirectiveSpec<PageFormat | undefined> {
  return directive<PageFormat | undefined>({
    in: ["location"],
    args: [0, 1],
    syntax: "[html|json]",
    doc,
    initial: () => undefined,
    defaultText: "html",
    inherit: false,
    read(at) {
      const [format = "html"] = at.args;
      return isFormat(format) ? format : fail(at, `invalid format "${format}"`);
    },
  });
}

/**
 * The content handler, where there is such a directive. A request's argument `format=` is for the other format. `write` makes the
 * body, as a byte string, or answers itself and returns the handler's code.
 */
export function pageHandler(
  configured: PageFormat | undefined,
  write: (format: PageFormat, request: Request) => string | number,
): Handler | undefined {
  if (configured === undefined) return undefined;
  return (request) => {
    if (request.method !== "GET" && request.method !== "HEAD") return 405;
    const broken = discardBody(request);
    if (broken !== OK) return broken;
    const asked = argument(request.args, "format");
    const format = asked !== undefined && isFormat(asked) ? asked : configured;
    const body = write(format, request);
    return typeof body === "number" ? body : sendText(request, 200, TYPES[format], body);
  };
}

function isFormat(format: string): format is PageFormat {
  return format === "html" || format === "json";
}
