import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError } from "../../src/config/types.ts";
import type { CheckDefinition } from "../../src/health/definition.ts";
import { ipv4, peer, planText } from "./support.ts";

const servers = [peer(0, ipv4(80))];

function upstream(text: string): CheckDefinition {
  return planText(`http { upstream u { ${text} } }`, { u: servers }).checks[0].definition;
}

function location(text: string, more = ""): CheckDefinition {
  const config = `http { ${more} upstream u { } server { location / { proxy_pass http://u/; ${text} } } }`;
  return planText(config, { u: servers }).checks[0].definition;
}

function refused(read: () => unknown, message: string) {
  assert.throws(read, (error) => {
    assert.ok(error instanceof ConfigError, String(error));
    assert.equal(error.message, message);
    return true;
  });
}

test("check has the module's defaults", () => {
  const { interval, fall, rise, timeout, defaultDown, type, port } = upstream("check type=tcp;");
  assert.deepEqual([interval, fall, rise, timeout, defaultDown, type, port], [30_000, 5, 2, 1000, true, "tcp", 0]);
  const all = upstream("check interval=3000 rise=3 fall=4 timeout=900 default_down=FALSE type=mysql port=3306;");
  assert.deepEqual(
    [all.interval, all.rise, all.fall, all.timeout, all.defaultDown, all.type, all.port],
    [3000, 3, 4, 900, false, "mysql", 3306],
  );
});

test("check's errors are the module's", () => {
  for (const bad of ["interval=0", "interval=3s", "rise=x", "type=smtp", "port=0", "port=65536", "nonsense", "fall="]) {
    refused(() => upstream(`check ${bad};`), `invalid parameter "${bad}"`);
  }
  refused(() => upstream("check default_down=yes;"), 'invalid value "default_down=yes", it must be "true" or "false"');
  refused(() => upstream("check;"), 'invalid number of arguments in "check" directive');
  refused(
    () => upstream("check_keepalive_requests 0; check type=http;"),
    '"check_keepalive_requests" directive invalid value',
  );
  refused(() => upstream("check type=http; check_http_expect_alive http_9xx;"), 'invalid value "http_9xx"');
  refused(
    () => upstream("check_panic 101%; check type=tcp;"),
    'invalid value "101%", it must be "off" or a percentage',
  );
  assert.throws(() => upstream("check type=http; check_http_expect_body ~ '(';"), ConfigError);
});

test("port= is another port of the same server, and a unix socket has none", () => {
  const peers = [
    peer(0, ipv4(80)),
    peer(1, { family: "ipv6", host: "::1", port: 80 }),
    peer(2, { family: "unix", path: "/a" }),
  ];
  const plan = planText("http { upstream u { check type=tcp port=81; } }", { u: peers });
  assert.deepEqual(
    plan.checks.map(({ target, name }) => [name, target]),
    [
      ["127.0.0.1:80", ipv4(81)],
      ["[::1]:80", { family: "ipv6", host: "::1", port: 81 }],
      ["unix:/a", { family: "unix", path: "/a" }],
    ],
  );
});

test("health_check has NGINX Plus's defaults and parameters", () => {
  const { interval, jitter, fall, rise, defaultDown, keep, timeout, send } = location("health_check;");
  assert.deepEqual([interval, jitter, fall, rise, defaultDown, keep.time, timeout], [5000, 0, 1, 1, false, 0, 60_000]);
  assert.equal(send, "GET / HTTP/1.1\r\nHost: u\r\nUser-Agent: holdfast (health check)\r\nConnection: close\r\n\r\n");
  const all = location(
    "proxy_read_timeout 3s; proxy_set_header Host shop.example; proxy_set_header X-A $remote_addr; health_check interval=2s jitter=500ms fails=3 passes=2 uri=/h?x=1 port=8080 mandatory persistent keepalive_time=1m timeout=2s;",
  );
  assert.deepEqual(
    [all.interval, all.jitter, all.fall, all.rise, all.port, all.defaultDown, all.keep.time, all.timeout],
    [2000, 500, 3, 2, 8080, true, 60_000, 2000],
  );
  assert.match(
    all.send,
    /^GET \/h\?x=1 HTTP\/1\.1\r\nHost: shop\.example\r\n(?!.*X-A).*Connection: keep-alive\r\n\r\n$/s,
  );
});

test("health_check's and match's errors", () => {
  for (const bad of ["interval=0", "interval=x", "fails=0", "persistent", "what", "uri=h", "uri=/a\\ b", "jitter="]) {
    assert.throws(() => location(`health_check ${bad};`), ConfigError, bad);
  }
  refused(() => location("health_check match=m;"), 'match "m" is not found');
  refused(() => location("health_check type=grpc;"), "health_check needs a grpc_pass to an upstream in its location");
  refused(() => location("health_check grpc_service=a;"), 'parameter "grpc_service" is for "type=grpc" only');
  refused(() => location("health_check type=grpc uri=/a;"), '"type=grpc" and "uri" do not go together');
  refused(
    () => planText("http { upstream u { } server { location / { health_check; } } }", { u: servers }),
    "health_check needs a proxy_pass to an upstream in its location",
  );
  refused(
    () => planText("http { server { location / { proxy_pass http://127.0.0.1:80; health_check; } } }", { u: servers }),
    'no upstream "127.0.0.1:80" for health_check',
  );
  for (const bad of [
    "status 99;",
    "status 200-;",
    "status !;",
    "header;",
    "header A > b;",
    "body ok;",
    "body ~ (;",
    "require x;",
    "require $x;",
    "frobnicate 1;",
  ]) {
    assert.throws(() => location("health_check match=m;", `match m { ${bad} }`), ConfigError, bad);
  }
  refused(() => location("", "match m { } match m { }"), 'duplicate match "m"');
});

test("two locations with the same health_check are one check", () => {
  const text =
    "http { upstream u { } server { location /a { proxy_pass http://u; health_check; } location /b { proxy_pass http://u; health_check; } } }";
  assert.equal(planText(text, { u: servers }).checks.length, 1);
});

test("the log can tell checks of one server apart", () => {
  assert.equal(upstream("check type=http;").label, "http");
  assert.equal(upstream("check type=http port=81;").label, "http port 81");
  assert.equal(location("health_check uri=/ready;").label, "health_check /ready");
});
