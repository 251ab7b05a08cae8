import { directive } from "../config/directives.ts";
import { fail, valueIn } from "../config/schema.ts";
import { defineModule, type HttpBuild } from "../http/conf/module.ts";
import { sendText } from "../http/core/engine.ts";
import { logError } from "../http/core/log_context.ts";
import type { Request } from "../http/core/request.ts";
import { headText } from "../wire/head_text.ts";
import { type Health, healthOf } from "./health.ts";
import { type StatusFormat, statusQuery, statusRows } from "./status.ts";
import { statusPage } from "./status_page.ts";

interface CheckStatus {
  readonly format: StatusFormat;
  readonly shown: boolean;
  readonly health: () => Health | undefined;
  readonly certificates: HttpBuild["certificates"];
}

const spec = directive<{ readonly format: StatusFormat | undefined }, undefined>({
  in: ["server", "location"],
  args: [0, 1],
  syntax: "[html|csv|json]",
  doc: "Answers with the states of all checked servers in this format; the arguments `format=` and `status=up|down` of a request choose another format and a part of the servers. In a server block it only sets the format. csv has the module's columns alone; html and json say besides since when a state has lasted, and when and why a check failed last, and show the certificates of `acme_certificate`.",
  defaultText: "html",
  initial: () => undefined,
  inherit: false,
  read(at) {
    const [format] = at.args;
    if (format !== undefined && format !== "html" && format !== "csv" && format !== "json") {
      fail(at, `invalid check format "${format}"`);
    }
    return { format };
  },
});

/** `check_status`: the upstream check module's status page. */
export const checkStatus = defineModule({
  name: "http_upstream_check",
  configure: "--add-module=nginx_upstream_check_module",
  directives: {
    check_status: spec,
  },
  build({ check_status }, { scope, http, location }): CheckStatus {
    let format = check_status?.format;
    for (let at = scope.parent; format === undefined && at !== undefined; at = at.parent) {
      format = valueIn(at, spec)?.format;
    }
    const shown = check_status !== undefined && location.kind !== "server";
    return { format: format ?? "html", shown, health: () => healthOf(http.cycle), certificates: http.certificates };
  },
  content: (settings) => (settings.shown ? (request) => show(request, settings) : undefined),
});

function show(request: Request, { format, health, certificates: sources }: CheckStatus): number {
  if (request.method !== "GET" && request.method !== "HEAD") return 405;
  const opened = health();
  const query = statusQuery(request.args, format, (message) => logError(request, "error", message));
  const certificates = query.format === "csv" ? [] : sources.flatMap((source) => source());
  if (opened === undefined || opened.plan.checks.length + certificates.length === 0) {
    const advice = "can not find any check server, make sure you've added the check servers";
    logError(request, "error", `http upstream check module ${advice}`);
    return 500;
  }
  const now = Date.now();
  const report = { rows: statusRows(opened.plan, now), certificates, generation: opened.generation, now };
  const { contentType, body } = statusPage(report, query);
  return sendText(request, 200, headText(contentType), body);
}
