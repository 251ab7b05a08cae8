import type { Peer } from "../../balancer/peer.ts";
import { directive } from "../../config/directives.ts";
import { fail, reachesOut } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { defineModule } from "../../http/conf/module.ts";
import { DONE, OK } from "../../http/core/codes.ts";
import { discardBody, discardBodyForError } from "../../http/core/discard_body.ts";
import { finalizeRequest, sendText } from "../../http/core/engine.ts";
import { logError } from "../../http/core/log_context.ts";
import { readBodyIntoMemory } from "../../http/core/memory_body.ts";
import type { Request } from "../../http/core/request.ts";
import type { Handler } from "../../http/core/types.ts";
import { headText } from "../../wire/head_text.ts";
import { type Cluster, clusterOf } from "../cluster.ts";
import { reportKey } from "../group/opinions.ts";
import { jsonOf, serverJson } from "../status/format.ts";
import { parseReport } from "./parse_report.ts";
import { stateNow } from "./report.ts";
import { maySpeak, readTokens, type Tokens } from "./tokens.ts";

/** Bytes of a body. */
const MOST_BODY = 4096;

const JSON_TYPE = headText("application/json");
const ALLOW = headText("Allow");
const ALLOWED = headText("GET, HEAD, PUT");
const AUTHENTICATE = headText("WWW-Authenticate");
const NO_STORE = headText("no-store");
const CACHE_CONTROL = headText("Cache-Control");

/** `cluster_report`: a server shows its own row of the matrix, and says of itself that it is draining or not ready. */
export const clusterReport = defineModule({
  name: "http_cluster_report",
  directives: {
    cluster_report: directive<Directive | undefined>({
      in: ["location"],
      args: [1, 1],
      syntax: "file",
      doc: 'Lets servers say of themselves how they do: PUT of `UPSTREAM/ADDRESS` below the location\'s prefix, with JSON such as {"state": "draining", "reason": "deploy", "for": 60}; GET shows what is known of the server. A PUT needs `Authorization: Bearer TOKEN` with a token of the file, which only the master reads: a line each, of 16 characters or more, and behind it the upstreams or `UPSTREAM/ADDRESS` that it may speak for (without any: every one).',
      initial: () => undefined,
      inherit: false,
      read(at, scope) {
        // The master reads the file when it starts.
        reachesOut(scope, at);
        return at;
      },
    }),
  },
  build({ cluster_report: at }, { http, location }): Handler | undefined {
    if (at === undefined) return undefined;
    if (location.kind !== "prefix") fail(at, '"cluster_report" must be in a location given by a prefix');
    const tokens = readTokens(at, http.cycle);
    const base = location.name.endsWith("/") ? location.name : `${location.name}/`;
    return (request) => serve(request, base, tokens, clusterOf(http.cycle));
  },
  content: (handler) => handler,
});

function serve(request: Request, base: string, tokens: Tokens, cluster: Cluster | undefined): number {
  const { method } = request;
  if (cluster === undefined) {
    logError(request, "error", 'there is no "cluster" in this configuration');
    return refuse(request, 404, "there is no cluster");
  }
  const row = rowOf(request.uri, base);
  if (method === "GET" || method === "HEAD") {
    const broken = discardBody(request);
    return broken === OK ? show(request, cluster, row) : broken;
  }
  if (method !== "PUT") {
    request.response.headers.add(ALLOW, "allow", ALLOWED);
    return refuse(request, 405, "allowed here: GET, HEAD, PUT");
  }
  const rows = allowed(request, tokens);
  if (typeof rows === "number") return rows;
  if (row === undefined) return refuse(request, 404, NO_ROW);
  const [upstream, server] = row;
  if (!maySpeak(rows, upstream, server)) return refuse(request, 403, "this token may not speak for that server");
  const peer = peerOf(cluster, upstream, server);
  if (peer === undefined) return refuse(request, 404, `there is no server ${server} in an upstream ${upstream}`);
  if (peer.down) return refuse(request, 409, 'the server is marked "down" in the configuration');
  if (cluster.own.state === "leaving") return refuse(request, 503, "this node is leaving: say it to another one");
  return take(request, cluster, row);
}

const NO_ROW = "below the location UPSTREAM/ADDRESS is asked for, as the matrix has them";

function rowOf(uri: string, base: string): readonly [upstream: string, server: string] | undefined {
  const rest = uri.startsWith(base) ? uri.slice(base.length) : "";
  const slash = rest.indexOf("/");
  return slash <= 0 || slash === rest.length - 1 ? undefined : [rest.slice(0, slash), rest.slice(slash + 1)];
}

function peerOf({ upstreams }: Cluster, upstream: string, server: string): Peer | undefined {
  return upstreams.find(({ name }) => name === upstream)?.peers.find(({ name }) => name === server);
}

/** The rows that the request's token may speak for; a number: the answer was given. */
function allowed(request: Request, tokens: Tokens): readonly string[] | number {
  const given = request.headers.get("authorization");
  const [, token] = /^bearer +(\S+) *$/i.exec(given ?? "") ?? [];
  const rows = token === undefined ? undefined : tokens.rowsOf(token);
  if (rows !== undefined) return rows;
  const challenge = given === undefined ? "Bearer" : 'Bearer error="invalid_token"';
  request.response.headers.add(AUTHENTICATE, "www-authenticate", headText(challenge));
  return refuse(
    request,
    401,
    given === undefined ? "a token is needed: Authorization: Bearer TOKEN" : "this is no token of this location",
  );
}

// ---- GET

function show(
  request: Request,
  cluster: Cluster,
  row: readonly [upstream: string, server: string] | undefined,
): number {
  if (row === undefined) return refuse(request, 404, NO_ROW);
  const [upstream, server] = row;
  const known = cluster.snapshot.matrix()?.servers.find((one) => one.upstream === upstream && one.server === server);
  if (known === undefined && peerOf(cluster, upstream, server) === undefined) {
    return refuse(request, 404, `there is no server ${server} in an upstream ${upstream}`);
  }
  const report = cluster.reports.get(reportKey(upstream, server));
  const shown = report !== undefined && stateNow(report, Date.now()) !== "ready" ? { report } : {};
  const { report: _, ...found } = known ?? {
    upstream,
    server,
    verdict: "unknown" as const,
    seen: {},
    report: undefined,
  };
  return answer(request, 200, serverJson({ ...found, ...shown }));
}

// ---- PUT

function take(request: Request, cluster: Cluster, row: readonly [upstream: string, server: string]): number {
  const { headers, contentLength, chunked } = request;
  const type = headers.get("content-type")?.split(";", 1)[0].trim().toLowerCase();
  if (type !== "application/json" && (contentLength > 0 || chunked)) {
    return refuse(request, 415, "the body must be JSON, of the type application/json");
  }
  const receiver = new Receiver(request, cluster, row);
  readBodyIntoMemory(request, MOST_BODY, receiver);
  return receiver.returned();
}

/** Waits for the body. */
class Receiver {
  readonly #request: Request;
  readonly #cluster: Cluster;
  readonly #row: readonly [upstream: string, server: string];
  #returned = false;
  #code: number | undefined;

  constructor(request: Request, cluster: Cluster, row: readonly [upstream: string, server: string]) {
    this.#request = request;
    this.#cluster = cluster;
    this.#row = row;
  }

  /** What the content handler returns. */
  returned(): number {
    this.#returned = true;
    return this.#code ?? DONE;
  }

  onWholeBody(body: Buffer | undefined): void {
    const code = this.#take(body);
    if (this.#returned) finalizeRequest(this.#request, code);
    else this.#code = code;
  }

  #take(body: Buffer | undefined): number {
    if (body === undefined) return refuse(this.#request, 413, `the body is longer than ${MOST_BODY} bytes`);
    const said = parseReport(body);
    if (typeof said === "string") return refuse(this.#request, 400, said);
    const [upstream, server] = this.#row;
    const { reports, settings } = this.#cluster;
    const now = Date.now();
    const { state, reason } = said;
    const until = said.for === 0 ? 0 : now + said.for;
    const report = reports.say(reportKey(upstream, server), { state, reason, until, by: settings.self.name }, now);
    return answer(this.#request, 200, jsonOf({ upstream, server, report }));
  }
}

// ---- answers

function refuse(request: Request, status: number, error: string): number {
  discardBodyForError(request);
  return answer(request, status, jsonOf({ error }));
}

function answer(request: Request, status: number, body: string): number {
  request.response.headers.add(CACHE_CONTROL, "cache-control", NO_STORE);
  return sendText(request, status, JSON_TYPE, `${body}\n`);
}
