/**
 * Servers of HTTP/2 that fail one after the other, each directive about that as in nginx: which servers a request goes to, what the client
 * gets, what is logged. By how a server fails, how often another may be tried, and how long.
 */
import { test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { fullQueue } from "../support/full_queue.ts";
import { answerLines } from "../support/h1_transcript.ts";
import { data, head } from "../support/h2_bytes.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { aboutServer, LogMarks, withoutPlaces } from "../support/log_marks.ts";
import { freePort } from "../support/ports.ts";
import { assertAsNginx, type Said } from "../support/recorded_nginx.ts";
import { type Script, type ScriptedServer, scriptedH2 } from "../support/scripted_h2.ts";
import { send } from "../support/tcp.ts";

const OPEN = h2.FLAG.END_HEADERS;
const answer =
  (status: number, body: string): Script =>
  (stream) => [head(stream, [`:status: ${status}`, "content-type: text/plain"], OPEN) + data(stream, body)];

/** Servers by their names, and what they answer. There are two more: DEAD refuses connections, FULL does not accept them. */
const SERVERS: Readonly<Record<string, Script>> = {
  GOOD: answer(200, "good"),
  OTHER: answer(200, "other"),
  BUSY: answer(503, "busy"),
  BUSIER: answer(503, "busier"),
  RESETS: (stream) => [h2.rstStream(stream, h2.ERROR.INTERNAL_ERROR)],
  CLOSES: () => [undefined],
  SILENT: () => [],
};

const PUTS = { fields: "Content-Length: 5\r\n", body: "hello" };
const GET = { method: "GET", fields: "", body: "" };
const POST = { method: "POST", ...PUTS };
const PUT = { method: "PUT", ...PUTS };

interface Case {
  /** Asked in this order: a server of more weight comes first. */
  readonly servers: readonly string[];
  /** P_ where a prefix stands. */
  readonly text: string;
  readonly requests?: readonly (typeof GET)[];
}

const CASES: Readonly<Record<string, Case>> = {
  // connect_timeout
  "no connection": { servers: ["FULL"], text: "P_connect_timeout 100ms;", requests: [GET, POST] },
  "no connection, then another server": {
    servers: ["FULL", "GOOD"],
    text: "P_connect_timeout 100ms;",
    requests: [GET, POST, PUT],
  },
  "no connection, and no other for a timeout": {
    servers: ["FULL", "GOOD"],
    text: "P_connect_timeout 100ms; P_next_upstream error;",
  },
  "no connection, and no other at all": {
    servers: ["FULL", "GOOD"],
    text: "P_connect_timeout 100ms; P_next_upstream off;",
  },
  "no connection, a refused one, and another server": {
    servers: ["FULL", "DEAD", "GOOD"],
    text: "P_connect_timeout 100ms;",
    requests: [GET, POST],
  },
  "no connection, with a page": {
    servers: ["FULL"],
    text: "P_connect_timeout 100ms; P_read_timeout 1m; P_send_timeout 1m; error_page 504 =200 /page;",
  },
  // next_upstream_tries
  "as many tries as there are servers": { servers: ["DEAD", "CLOSES", "RESETS", "GOOD"], text: "" },
  "one try": { servers: ["DEAD", "GOOD"], text: "P_next_upstream_tries 1;", requests: [GET, POST] },
  "two tries": { servers: ["DEAD", "CLOSES", "GOOD"], text: "P_next_upstream_tries 2;", requests: [GET, POST] },
  "three tries": { servers: ["DEAD", "CLOSES", "GOOD"], text: "P_next_upstream_tries 3;", requests: [GET, POST] },
  "more tries than servers": { servers: ["DEAD", "CLOSES"], text: "P_next_upstream_tries 7;" },
  "tries without a bound": {
    servers: ["DEAD", "RESETS", "CLOSES", "GOOD"],
    text: "P_next_upstream error invalid_header non_idempotent; P_next_upstream_tries 0;",
    requests: [GET, POST],
  },
  "two tries by status": {
    servers: ["BUSY", "BUSIER", "GOOD"],
    text: "P_next_upstream http_503; P_next_upstream_tries 2;",
    requests: [GET, POST, PUT],
  },
  "tries by status, without a bound": {
    servers: ["BUSY", "BUSIER", "GOOD"],
    text: "P_next_upstream http_503;",
    requests: [GET, POST, PUT],
  },
  "tries by status, until no server is left": { servers: ["BUSY", "BUSIER"], text: "P_next_upstream http_503;" },
  "one try, and a backup": { servers: ["DEAD", "backup GOOD"], text: "P_next_upstream_tries 1;" },
  "two tries, and a backup": { servers: ["DEAD", "backup GOOD"], text: "P_next_upstream_tries 2;" },
  "two tries, a backup and no connection": {
    servers: ["FULL", "backup GOOD"],
    text: "P_connect_timeout 100ms; P_next_upstream_tries 2;",
  },
  // next_upstream_timeout
  "time for another server": {
    servers: ["BUSY", "DEAD", "GOOD"],
    text: "P_next_upstream error http_503; P_next_upstream_timeout 1m;",
    requests: [GET, PUT],
  },
  "time without a bound": {
    servers: ["BUSY", "DEAD", "GOOD"],
    text: "P_next_upstream error http_503; P_next_upstream_timeout 0;",
  },
  "the time is over when a connection was waited for": {
    servers: ["FULL", "GOOD"],
    text: "P_connect_timeout 100ms; P_next_upstream_timeout 50ms;",
    requests: [GET, POST],
  },
  "the time is over when an answer was waited for": {
    servers: ["SILENT", "GOOD"],
    text: "P_read_timeout 100ms; P_next_upstream_timeout 50ms;",
    requests: [GET, PUT],
  },
  "there is time when an answer was waited for": {
    servers: ["SILENT", "GOOD"],
    text: "P_read_timeout 500ms; P_next_upstream_timeout 1m;",
    requests: [GET, POST],
  },
};

const PASSES: Readonly<Record<string, readonly [prefix: string, pass: string]>> = {
  grpc: ["grpc_", "grpc_pass "],
  proxy: ["proxy_", "proxy_http_version 2; proxy_pass http://"],
};

const LOCATIONS = Object.entries(PASSES).flatMap(([name, [prefix, pass]]) =>
  Object.entries(CASES).map(([about, one], i) => {
    return { name: `${name}: ${about}`, path: `/${name}-${i}`, pass: `${pass}${name}-${i}`, prefix, ...one };
  }),
);

const config =
  (ports: ReadonlyMap<string, number>) =>
  ([listen]: readonly number[]) =>
    `worker_processes 1; http {
  log_format all '$request|$status|$upstream_status|$upstream_addr';
  access_log logs/access.log all; root html;
  ${LOCATIONS.map(({ path, servers }) => {
    const lines = servers.map((server, i) => {
      const [name, more] = server.startsWith("backup ") ? [server.slice(7), "backup"] : [server, ""];
      return `server 127.0.0.1:${ports.get(name)} max_fails=0 weight=${10 ** (servers.length - i)} ${more};`;
    });
    return `upstream ${path.slice(1)} { ${lines.join(" ")} keepalive 0; }`;
  }).join("\n")}
  server { listen 127.0.0.1:${listen};
    location = /page { return 200 page; }
    ${LOCATIONS.map(({ path, text, pass, prefix }) => `location ${path} { ${pass}; ${text.replaceAll("P_", prefix)} }`).join("\n")} } }`;

async function observe(
  servers: ReadonlyMap<string, ScriptedServer>,
  ports: ReadonlyMap<string, number>,
  running: Running,
): Promise<Said> {
  const names = Object.fromEntries([...ports].map(([name, port]) => [`127.0.0.1:${port}`, name]));
  const marks = new LogMarks(running, running.port, names);
  const said = new Map<string, string[]>();
  await marks.lines();
  for (const { name, path, requests = [GET] } of LOCATIONS) {
    for (const { method, fields, body } of requests) {
      const asking = `${method} ${path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n${fields}\r\n${body}`;
      const got = await send(running.port, asking);
      said.set(`${name}: ${method}`, [
        ...answerLines(got).map((line) => withoutPlaces(line, running)),
        ...[...servers].flatMap(([server, { requests }]) => {
          const theirs = requests().filter((line) => /^server: (?::method|body)/.test(line));
          return theirs.map((line) => line.replace("server", server));
        }),
        ...(await marks.lines()).map(aboutServer),
      ]);
    }
  }
  return said;
}

test("servers that fail one after the other, by each directive", async (t) => {
  const servers = new Map<string, ScriptedServer>();
  for (const [name, script] of Object.entries(SERVERS)) servers.set(name, await scriptedH2(t, () => script));
  const ports = new Map([...servers].map(([name, { port }]) => [name, port]));
  ports.set("DEAD", await freePort());
  ports.set("FULL", await fullQueue(t));
  const options = { config: config(ports) };
  const said = await observe(servers, ports, await startHoldfast(t, options));
  const ask = async (binary: string) => observe(servers, ports, await startNginx(t, options, binary));
  await assertAsNginx("h2_next_upstream", said, ask);
});
