import assert from "node:assert/strict";
import { test } from "node:test";
import { type StatusFormat, type StatusRow, statusQuery, statusRows } from "../../src/health/status.ts";
import { statusPage } from "../../src/health/status_page.ts";
import type { CertificateStatus } from "../../src/http/conf/module.ts";
import { bind, ipv4, planOf } from "./support.ts";

const NOW = Date.UTC(2026, 10, 26, 8, 30, 15);
const report = (shown: readonly StatusRow[], generation = 3) => ({
  rows: shown,
  certificates: [],
  generation,
  now: NOW,
});

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
    since: NOW - 90_000,
    checked: NOW - 400,
    failed: 0,
    reason: "",
    decided: "",
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
    since: NOW - 7_300,
    checked: NOW - 1_000,
    failed: NOW - 1_000,
    reason: 'connect: <no>, "such" é\x01',
    decided: "",
  },
];
const latin1 = (text: string) => Buffer.from(text, "utf8").toString("latin1");

test("json has the module's fields, then the reason, and is JSON", () => {
  const { contentType, body } = statusPage(report(rows.slice(0, 1)), { format: "json", status: undefined });
  assert.equal(contentType, "application/json");
  assert.equal(
    body,
    `{"servers": {
  "total": 1,
  "generation": 3,
  "up": 1,
  "down": 0,
  "server": [
    {"index": 0, "upstream": "backend", "name": "106.187.48.116:80", "status": "up", "rise": 58, "fall": 0, "type": "http", "port": 80, "since": "2026-11-26T08:28:45.000Z", "failed": null, "reason": ""}
  ]
}}
`,
  );
  const hostile = [{ ...rows[1], reason: latin1(rows[1].reason) }];
  const parsed = JSON.parse(statusPage(report(hostile), { format: "json", status: undefined }).body);
  assert.equal(parsed.servers.server[0].reason, rows[1].reason);
  for (const status of ["up", "down"] as const) {
    const { servers } = JSON.parse(statusPage(report(rows), { format: "json", status }).body);
    assert.deepEqual([servers.total, servers.server.length, servers.server[0].status], [1, 1, status]);
  }
  assert.deepEqual(JSON.parse(statusPage(report([]), { format: "json", status: "up" }).body).servers.server, []);
});

test("csv has a line a server with exactly the module's columns", () => {
  const { contentType, body } = statusPage(report(rows), { format: "csv", status: undefined });
  assert.equal(contentType, "text/plain");
  assert.equal(body, "0,backend,106.187.48.116:80,up,58,0,http,80\n1,backend,unix:/a.sock,down,0,7,tcp,0\n");
});

test("html has the module's columns, red rows, and nothing unescaped", () => {
  const { contentType, body } = statusPage(report(rows), { format: "html", status: undefined });
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
  const firsts = [...body.matchAll(/<tr[^>]*>\n((?: {4}<td>[^<]*<\/td>\n){8})/g)].map(([, cells]) => cells);
  assert.equal(firsts.length, 2, "the module's eight cells are bare");
});

test("html says when it was made, refreshes itself, counts, and how long each state has lasted", () => {
  const { body } = statusPage(report(rows), { format: "html", status: "down" });
  assert.match(body, /Made <time datetime="2026-11-26T08:30:15\.000Z">2026-11-26 08:30:15 UTC<\/time>/);
  assert.match(body, /<meta http-equiv="refresh" content="5">/);
  assert.match(body, /<meta name="viewport" content="width=device-width, initial-scale=1">/);
  assert.match(body, /<title>1 down – /);
  const totals = [...body.matchAll(/<b>(\d+)<\/b>(\w+)/g)].map(([, count, what]) => `${count} ${what}`);
  assert.deepEqual(totals, ["2 servers", "1 up", "1 down"], "of all, whatever part is shown");
  assert.match(body, /<td>7s<\/td>/);
  assert.match(body, /08:30:14 UTC, <time datetime="[^"]+">1s ago<\/time>/);
  assert.doesNotMatch(body, /(?:src|href)="(?:https?:)?\/\//, "nothing is fetched from elsewhere");
  const none = statusPage(report(rows.slice(0, 1)), { format: "html", status: "down" }).body;
  assert.match(none, /No server is down\./);
});

test("a failure is shown while it matters: an hour after it, once the server is up and passes", () => {
  const plan = bind(planOf([ipv4(1)]));
  const [record] = plan.records;
  const hour = 3_600_000;
  const reason = (now: number) => statusRows(plan, now)[0].reason;
  plan.states.fail(record, NOW, "status 503");
  plan.states.pass(record, NOW + 1000);
  assert.equal(statusRows(plan, NOW)[0].failed, NOW);
  assert.equal(reason(NOW + 2 * hour), "status 503", "the server is still down");
  plan.states.change(record, true, NOW + 2000);
  assert.equal(reason(NOW + hour), "status 503");
  assert.equal(reason(NOW + hour + 1), "");
  assert.equal(statusRows(plan, NOW + hour + 1)[0].failed, 0);
  plan.states.fail(record, NOW + 3 * hour, "timeout after 500 ms");
  assert.equal(reason(NOW + 9 * hour), "timeout after 500 ms", "no pass since");
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

test("certificates are a further member of json and a further table of html, and csv has none", () => {
  const state = { names: ["one.test", "www.one.test"], issuer: "example", expires: 0, failed: 0, reason: "" };
  const certificates: CertificateStatus[] = [
    { ...state, state: "valid", expires: NOW + 90 * 86_400_000, next: NOW + 3_600_000 },
    { ...state, state: "failed", next: Number.POSITIVE_INFINITY, failed: NOW - 2_000, reason: 'a <b>, "c" \x01' },
    { ...state, state: "pending", next: NOW },
  ];
  const page = (format: StatusFormat) => statusPage({ ...report(rows), certificates }, { format, status: "up" }).body;
  const without = (format: StatusFormat) => statusPage(report(rows), { format, status: "up" }).body;
  assert.equal(page("csv"), without("csv"));
  assert.ok(page("json").startsWith(without("json").slice(0, -2)));
  const who = { names: state.names, issuer: "example" };
  assert.deepEqual(JSON.parse(page("json")).certificates, [
    {
      ...who,
      state: "valid",
      expires: "2027-02-24T08:30:15.000Z",
      next: "2026-11-26T09:30:15.000Z",
      failed: null,
      reason: "",
    },
    {
      ...who,
      state: "failed",
      expires: null,
      next: null,
      failed: "2026-11-26T08:30:13.000Z",
      reason: 'a <b>, "c" \x01',
    },
    { ...who, state: "pending", expires: null, next: "2026-11-26T08:30:15.000Z", failed: null, reason: "" },
  ]);
  const html = page("html");
  const [servers, table] = html.split('<h2 class="part">');
  assert.ok(without("html").includes(servers.slice(servers.indexOf("<body>"))));
  const cells = [...table.matchAll(/<td>(.*)<\/td>/g)].map(([, cell]) => cell.replace(/<\/?(time|small)[^>]*>/g, ""));
  assert.deepEqual(cells, [
    ...["one.test, www.one.test", "example", "valid"],
    ...["2027-02-24 08:30:15 UTC in 90d00h", "2026-11-26 09:30:15 UTC in 1h00m", ""],
    ...["one.test, www.one.test", "example", "failed", "", "after a reload"],
    "a &lt;b&gt;, &quot;c&quot; ? 08:30:13 UTC, 2s ago",
    ...["one.test, www.one.test", "example", "pending", "", "now", ""],
  ]);
  assert.doesNotMatch(table, /bgcolor/);
});
