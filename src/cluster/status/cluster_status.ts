import { directive } from "../../config/directives.ts";
import { fail } from "../../config/schema.ts";
import { defineModule } from "../../http/conf/module.ts";
import { OK } from "../../http/core/codes.ts";
import { discardBody } from "../../http/core/discard_body.ts";
import { sendText } from "../../http/core/engine.ts";
import { logError } from "../../http/core/log_context.ts";
import type { Request } from "../../http/core/request.ts";
import type { Handler } from "../../http/core/types.ts";
import { headText } from "../../wire/head_text.ts";
import { argument } from "../../wire/uri.ts";
import { type Cluster, clusterOf } from "../cluster.ts";
import { streamEvents, wantsEvents } from "../events/event_stream.ts";
import { matrixJson, readable } from "./format.ts";
import { statusHtml } from "./status_html.ts";

type Format = "html" | "json";

const TYPES = { html: headText("text/html"), json: headText("application/json") } as const;

/** `cluster_status`: who sees whom, of nodes and of servers; and the variables `$cluster_node` and `$cluster_holder`. */
export const clusterStatus = defineModule({
  name: "http_cluster_status",
  directives: {
    cluster_status: directive<Format | undefined>({
      in: ["location"],
      args: [0, 1],
      syntax: "[html|json]",
      doc: "Answers with who sees whom: what each node of the cluster finds of each other node and of each server that is checked. The argument `format=` of a request chooses another format. With the argument `events`, or `Accept: text/event-stream`, the answer is server-sent events: the whole matrix, and then each change.",
      defaultText: "html",
      initial: () => undefined,
      inherit: false,
      read(at) {
        const [format = "html"] = at.args;
        return isFormat(format) ? format : fail(at, `invalid format "${format}"`);
      },
    }),
  },
  // Empty without a cluster.
  setup({ variables, cycle }) {
    variables.declare("cluster_node", { get: () => clusterOf(cycle)?.settings.self.name ?? "" });
    variables.declare("cluster_holder", { get: () => clusterOf(cycle)?.own.holder ?? "" });
  },
  build({ cluster_status: format }, { http }): Handler | undefined {
    if (format === undefined) return undefined;
    return (request) => show(request, format, clusterOf(http.cycle));
  },
  content: (handler) => handler,
});

function isFormat(format: string): format is Format {
  return format === "html" || format === "json";
}

function show(request: Request, configured: Format, cluster: Cluster | undefined): number {
  if (request.method !== "GET" && request.method !== "HEAD") return 405;
  const broken = discardBody(request);
  if (broken !== OK) return broken;
  if (cluster === undefined) {
    logError(request, "error", 'there is no "cluster" in this configuration');
    return 404;
  }
  if (wantsEvents(request)) return streamEvents(request, cluster.hub);
  const matrix = cluster.snapshot.matrix();
  if (matrix === undefined) return 503;
  const wanted = argument(request.args, "format");
  const format = wanted !== undefined && isFormat(wanted) ? wanted : configured;
  const all = argument(request.args, "all") !== undefined;
  const body =
    format === "json" ? matrixJson(matrix) : Buffer.from(statusHtml(readable(matrix), { all })).latin1Slice();
  return sendText(request, 200, TYPES[format], body);
}
