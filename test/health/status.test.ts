import assert from "node:assert/strict";
import { test } from "node:test";
import { type StatusRow, statusPage, statusQuery } from "../../src/health/status.ts";

const rows: StatusRow[] = [
  {
    index: 0,
    upstream: "backend",
    name: "106.187.48.116:80",
    up: true,
    rise: 58,
    fall: 0,
    type: "http",
    port: 80,
    reason: "",
  },
  {
    index: 1,
    upstream: "backend",
    name: "unix:/a.sock",
    up: false,
    rise: 0,
    fall: 7,
    type: "tcp",
    port: 0,
    reason: 'connect: <no>, "such" é\x01',
  },
];
const latin1 = (text: string) => Buffer.from(text, "utf8").toString("latin1");

test("json has the module's fields, then the reason, and is JSON", () => {
  const { contentType, body } = statusPage(rows.slice(0, 1), 3, { format: "json", status: undefined });
  assert.equal(contentType, "application/json");
  assert.equal(
    body,
    `{"servers": {
  "total": 1,
  "generation": 3,
  "server": [
    {"index": 0, "upstream": "backend", "name": "106.187.48.116:80", "status": "up", "rise": 58, "fall": 0, "type": "http", "port": 80, "reason": ""}
  ]
}}
`,
  );
  const hostile = [{ ...rows[1], reason: latin1(rows[1].reason) }];
  const parsed = JSON.parse(statusPage(hostile, 1, { format: "json", status: undefined }).body);
  assert.equal(parsed.servers.server[0].reason, rows[1].reason);
  for (const status of ["up", "down"] as const) {
    const { servers } = JSON.parse(statusPage(rows, 1, { format: "json", status }).body);
    assert.deepEqual([servers.total, servers.server.length, servers.server[0].status], [1, 1, status]);
  }
  assert.deepEqual(JSON.parse(statusPage([], 1, { format: "json", status: "up" }).body).servers.server, []);
});

test("csv has a line a server", () => {
  const { contentType, body } = statusPage(rows, 3, { format: "csv", status: undefined });
  assert.equal(contentType, "text/plain");
  const [first, second] = body.split("\n");
  assert.equal(first, "0,backend,106.187.48.116:80,up,58,0,http,80,");
  assert.match(second, /^1,backend,unix:\/a\.sock,down,0,7,tcp,0,"connect: <no>, ""such"" /);
});

test("html has the module's columns, red rows, and nothing unescaped", () => {
  const { contentType, body } = statusPage(rows, 3, { format: "html", status: undefined });
  assert.equal(contentType, "text/html");
  assert.match(body, /Check upstream server number: 2, generation: 3/);
  const columns = [...body.matchAll(/<th>(.*?)<\/th>/g)].map(([, name]) => name);
  assert.deepEqual(columns.slice(0, 8), [
    "Index",
    "Upstream",
    "Name",
    "Status",
    "Rise counts",
    "Fall counts",
    "Check type",
    "Check port",
  ]);
  assert.equal([...body.matchAll(/<tr bgcolor="#FF0000">/g)].length, 1);
  assert.match(body, /<td>down<\/td>/);
  assert.match(body, /connect: &lt;no&gt;, &quot;such&quot;/);
});

test("the arguments choose format and part; what is wrong is said and ignored", () => {
  const bad: string[] = [];
  const query = (args: string) => statusQuery(args, "html", (message) => bad.push(message));
  assert.deepEqual(query("format=json&status=down"), { format: "json", status: "down" });
  assert.deepEqual(query("a=b&FORMAT=csv&status=UP"), { format: "csv", status: "up" });
  assert.deepEqual(query(""), { format: "html", status: undefined });
  assert.deepEqual(bad, []);
  assert.deepEqual(query("format=xml&status=dead"), { format: "html", status: undefined });
  assert.deepEqual(bad, ['http upstream check, bad argument: "xml"', 'http upstream check, bad argument: "dead"']);
});
