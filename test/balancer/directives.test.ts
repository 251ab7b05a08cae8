import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { upstream, upstreamDefinitions, upstreamHosts, upstreamKeepalive } from "../../src/balancer/directives.ts";
import * as d from "../../src/config/directives.ts";
import { refusalsOf, warningsOf } from "../../src/config/errors.ts";
import { defineDirectives, type Scope } from "../../src/config/schema.ts";
import { ConfigError } from "../../src/config/types.ts";
import { refuseZonesWithoutSize } from "../../src/shm/registry.ts";
import { loadConfig } from "../config/workspace.ts";
import { NGINX } from "../support/reference_nginx.ts";

const folder = mkdtempSync(join(tmpdir(), "upstream-"));
after(() => rmSync(folder, { recursive: true }));

const outer = defineDirectives("outer", {
  events: d.block({ in: ["main"], context: "events", doc: "For tests." }),
  http: d.block({ in: ["main"], context: "http", doc: "For tests." }),
});

const confFile = join(folder, "nginx.conf");

function load(text: string): Scope {
  writeFileSync(confFile, `events {}\nhttp {\n${text}\n}\n`, "latin1");
  return loadConfig({ confFile, confPrefix: `${folder}/` }, [outer, upstream, upstreamKeepalive]).root;
}

function definitions(text: string) {
  return upstreamDefinitions(load(text));
}

function errorOf(text: string): string {
  try {
    const root = load(text);
    upstreamDefinitions(root);
    refuseZonesWithoutSize(root);
    refusalsOf(root).throwAll({ files: [], directives: [] });
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return String(error);
  }
  return "";
}

test("a whole upstream block", () => {
  const found = definitions(`
    upstream Shop {
      zone shop 64k;
      least_conn;
      server 127.0.0.1:8081 weight=5 max_fails=3 fail_timeout=1m max_conns=10 slow_start=30s route=a;
      server [::1] backup;
      server unix:/tmp/shop.sock down;
      server shop.example:8443 drain;
      keepalive 8;
      keepalive_requests 5;
      keepalive_time 1m;
      keepalive_timeout 500ms;
      keepalive_streams 7;
    }`);
  const shop = found.get("shop");
  assert.ok(shop !== undefined);
  assert.equal(shop.name, "Shop");
  assert.deepEqual(shop.method, { name: "least_conn" });
  assert.deepEqual(shop.keepalive, {
    connections: 8,
    local: false,
    requests: 5,
    time: 60_000,
    timeout: 500,
    streams: 7,
  });
  const [first, second, third, fourth] = shop.servers;
  assert.deepEqual(first.target, { family: "ipv4", host: "127.0.0.1", port: 8081 });
  assert.deepEqual(
    [first.weight, first.maxFails, first.failTimeout, first.maxConns, first.slowStart, first.route],
    [5, 3, 60_000, 10, 30_000, "a"],
  );
  assert.deepEqual([second.target, second.backup], [{ family: "ipv6", host: "::1", port: 80 }, true]);
  assert.deepEqual([third.target, third.down], [{ family: "unix", path: "/tmp/shop.sock" }, true]);
  assert.deepEqual([fourth.target, fourth.drain], [{ host: "shop.example", port: 8443 }, true]);
  assert.deepEqual(
    upstreamHosts(found.values()).map(({ host, error }) => [host, error]),
    [["shop.example", 'host not found in upstream "shop.example:8443"']],
  );
});

test("keepalive is on with 32 local connections unless it says otherwise", () => {
  const found = definitions("upstream a { server 127.0.0.1; }\nupstream b { server 127.0.0.1; keepalive 0; }");
  const expected = { connections: 32, local: true, requests: 1000, time: 3_600_000, timeout: 60_000, streams: 100 };
  assert.deepEqual(found.get("a")?.keepalive, expected);
  assert.equal(found.get("b")?.keepalive, undefined);
});

test("the last balancing method holds, with a warning", () => {
  const root = load("upstream u {\n ip_hash;\n hash $uri consistent;\n server 127.0.0.1;\n}");
  assert.deepEqual(upstreamDefinitions(root).get("u")?.method, { name: "hash_consistent", key: "$uri" });
  assert.deepEqual(
    warningsOf(root).map(({ message, line }) => [message, line]),
    [["load balancing method redefined", 5]],
  );
});

/** Refused by nginx too, in the same words. */
const REFUSED: readonly (readonly [text: string, sentence: string])[] = [
  ["upstream u {\n}", "no servers are inside upstream"],
  ["upstream u { zone z 64k; }", "no servers are inside upstream"],
  ["upstream u { server 127.0.0.1; }\nupstream U { server 127.0.0.1; }", 'duplicate upstream "U"'],
  ["upstream u { server 127.0.0.1 weight=0; }", 'invalid parameter "weight=0"'],
  ["upstream u { server 127.0.0.1 weight=x; }", 'invalid parameter "weight=x"'],
  ["upstream u { server 127.0.0.1 max_fails=-1; }", 'invalid parameter "max_fails=-1"'],
  ["upstream u { server 127.0.0.1 fail_timeout=1ms; }", 'invalid parameter "fail_timeout=1ms"'],
  ["upstream u { server 127.0.0.1 max_conns=; }", 'invalid parameter "max_conns="'],
  ["upstream u { server 127.0.0.1 backups; }", 'invalid parameter "backups"'],
  ["upstream u { server 127.0.0.1:0; }", 'invalid port in upstream "127.0.0.1:0"'],
  ["upstream u { server 127.0.0.1:65536; }", 'invalid port in upstream "127.0.0.1:65536"'],
  ["upstream u { server :80; }", 'no host in upstream ":80"'],
  ["upstream u { server a/b; }", 'invalid host in upstream "a/b"'],
  ["upstream u { server [::1; }", 'invalid host in upstream "[::1"'],
  ["upstream u { server [::1]x; }", 'invalid host in upstream "[::1]x"'],
  ["upstream u { server [:::1]; }", 'invalid IPv6 address in upstream "[:::1]"'],
  ["upstream u { server unix:; }", 'no path in the unix domain socket in upstream "unix:"'],
  ["upstream u { ip_hash; server 127.0.0.1 backup; }", 'balancing method does not support parameter "backup"'],
  ["upstream u { hash $uri x; server 127.0.0.1; }", 'invalid parameter "x"'],
  ["upstream u { random three; server 127.0.0.1; }", 'invalid parameter "three"'],
  ["upstream u { random two fair; server 127.0.0.1; }", 'invalid parameter "fair"'],
  ["upstream u { server 127.0.0.1; keepalive x; }", 'invalid value "x" in "keepalive" directive'],
  ["upstream u { zone z 1k; server 127.0.0.1; }", 'zone "z" is too small'],
  ["upstream u { zone z x; server 127.0.0.1; }", 'invalid zone size "x"'],
  ['upstream u { zone "" 64k; server 127.0.0.1; }', 'invalid zone name ""'],
  ["upstream u { zone z; server 127.0.0.1; }", 'zero size shared memory zone "z"'],
];

/** What only Holdfast's level of nginx (or NGINX Plus) has. */
const REFUSED_HERE: readonly (readonly [text: string, sentence: string])[] = [
  ["upstream u { server 127.0.0.1; keepalive 2 far; }", 'invalid parameter "far"'],
  ["upstream u { server 127.0.0.1 route=; }", "route is empty"],
  ["upstream u { server a; queue x; }", 'invalid value "x" in "queue" directive'],
  ["upstream u { server a; queue 3 timeout=x; }", 'invalid parameter "timeout=x"'],
  [`upstream u { server 127.0.0.1 route=${"x".repeat(33)}; }`, "route is longer than 32"],
  ["upstream u { random; server a slow_start=1s; }", 'balancing method does not support parameter "slow_start=1s"'],
  ["upstream u { least_time fast; server 127.0.0.1; }", 'invalid value "fast"'],
  ["upstream u { random two least_time=fast; server 127.0.0.1; }", 'invalid parameter "least_time=fast"'],
  ["upstream u { server a service=; }", "service is empty"],
  ["upstream u { server a service=http; }", 'service upstream "a" requires "resolve" parameter'],
  ["upstream u { server a:80 service=http resolve; }", 'service upstream "a:80" may not have port'],
  ["upstream u { server 127.0.0.1 service=http resolve; }", 'service upstream "127.0.0.1" requires domain name'],
  ["upstream u { server unix:a service=http resolve; }", 'service upstream "unix:a" may not have port'],
];

for (const [text, sentence] of [...REFUSED, ...REFUSED_HERE]) {
  test(`refused: ${text.replaceAll("\n", " ")}`, () => assert.ok(errorOf(text).startsWith(sentence), errorOf(text)));
}

test("nginx refuses the same with the same words and lines", { skip: NGINX === undefined }, () => {
  for (const [text] of REFUSED) {
    const ours = errorOf(text);
    const { stderr } = spawnSync(NGINX ?? "", ["-t", "-c", confFile, "-p", folder, "-g", "pid nginx.pid;"], {
      encoding: "latin1",
    });
    const theirs = /\[emerg\](?: \d+#\d+:)? (.*)/.exec(stderr)?.[1];
    assert.equal(ours, theirs, text);
  }
});
