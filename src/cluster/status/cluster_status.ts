import { directive } from "../../config/directives.ts";
import { fail } from "../../config/schema.ts";
import { defineModule } from "../../http/conf/module.ts";
import { OK } from "../../http/core/codes.ts";
import { discardBody } from "../../http/core/discard_body.ts";
import { sendText } from "../../http/core/engine.ts";
import type { Handler } from "../../http/core/types.ts";
import { headText } from "../../wire/head_text.ts";
import { clusterOf } from "../cluster.ts";

const JSON_TYPE = headText("application/json");

/** `cluster_status`: who sees whom, of nodes and of servers. */
export const clusterStatus = defineModule({
  name: "http_cluster_status",
  directives: {
    cluster_status: directive<"json" | undefined>({
      in: ["location"],
      args: [0, 1],
      syntax: "[json]",
      doc: "Answers with who sees whom: what each node of the cluster finds of each other node and of each server that is checked.",
      initial: () => undefined,
      inherit: false,
      read(at) {
        const [format = "json"] = at.args;
        return format === "json" ? format : fail(at, `invalid format "${format}"`);
      },
    }),
  },
  build({ cluster_status: format }, { http }): Handler | undefined {
    if (format === undefined) return undefined;
    return (request) => {
      if (request.method !== "GET" && request.method !== "HEAD") return 405;
      const broken = discardBody(request);
      if (broken !== OK) return broken;
      const snapshot = clusterOf(http.cycle)?.snapshot.read();
      if (snapshot === undefined) return 503;
      return sendText(request, 200, JSON_TYPE, snapshot.latin1Slice());
    };
  },
  content: (handler) => handler,
});
