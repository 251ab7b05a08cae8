import { defineModule } from "../../http/conf/module.ts";
import { type PageFormat, pageDirective, pageHandler } from "../../http/conf/status_page.ts";
import { logError } from "../../http/core/log_context.ts";
import type { Request } from "../../http/core/request.ts";
import { argument } from "../../wire/uri.ts";
import { type Cluster, clusterOf } from "../cluster.ts";
import { streamEvents, wantsEvents } from "../events/event_stream.ts";
import { matrixJson, readable } from "./format.ts";
import { statusHtml } from "./status_html.ts";

/** `cluster_status`: who sees whom, of nodes and of servers; and the variables `$cluster_node` and `$cluster_holder`. */
export const clusterStatus = defineModule({
  name: "http_cluster_status",
  directives: {
    cluster_status: pageDirective(
      "Answers with who sees whom: what each node of the cluster finds of each other node and of each server that is checked. The argument `format=` of a request chooses another format. With the argument `events`, or `Accept: text/event-stream`, the answer is server-sent events: the whole matrix, and then each change.",
    ),
  },
  // Empty without a cluster.
  setup({ variables, cycle }) {
    variables.declare("cluster_node", { get: () => clusterOf(cycle)?.settings.self.name ?? "" });
    variables.declare("cluster_holder", { get: () => clusterOf(cycle)?.own.holder ?? "" });
  },
  build: ({ cluster_status: configured }, { http }) =>
    pageHandler(configured, (format, request) => show(request, format, clusterOf(http.cycle))),
  content: (handler) => handler,
});

function show(request: Request, format: PageFormat, cluster: Cluster | undefined): string | number {
  if (cluster === undefined) {
    logError(request, "error", 'there is no "cluster" in this configuration');
    return 404;
  }
  if (wantsEvents(request)) return streamEvents(request, cluster.hub);
  const matrix = cluster.snapshot.matrix();
  if (matrix === undefined) return 503;
  if (format === "json") return matrixJson(matrix);
  const all = argument(request.args, "all") !== undefined;
  return Buffer.from(statusHtml(readable(matrix), { all })).latin1Slice();
}
