/** Workers build a location when the first request comes for it: nothing of that may be seen from outside. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { httpBackend } from "../support/backend.ts";
import { bundled, startHoldfast } from "../support/holdfast.ts";
import { workersOf } from "../support/processes.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

test("the first request to a location of any kind is answered as the second", async (t) => {
  const { port: backend } = await httpBackend(t, (request, response) => response.end(`${request.url}`));
  const holdfast = await startHoldfast(t, {
    files: { "html/files/there": "a file", "html/nested/page": "nested" },
    config: ([port]) => `worker_processes 1; http {
      log_format set "$uri $word"; access_log logs/access.log set;
      map $uri $mapped { default "mapped $word"; }
      upstream named { server 127.0.0.1:${backend}; }
      server { listen 127.0.0.1:${port}; root html;
        location /proxied/ { proxy_pass http://127.0.0.1:${backend}; }
        location /named/ { proxy_pass http://named/on/; }
        location = /exact { return 200 "exact $request_method"; }
        location ~ ^/re/(?<part>[a-z]+)/(\\d)$ { return 200 "$part $2 $arg_x"; }
        location /part { return 200 "part $part."; }
        location /files/ { try_files $uri @missing; }
        location @missing { return 404 "missing $uri"; }
        location /sets/ { set $word set; rewrite ^ /uses last; }
        location /uses { return 200 $mapped; }
        location /asks/ { auth_request /allows; auth_request_set $granted $upstream_status; return 200 "never"; }
        location /asks/file { auth_request /allows; auth_request_set $granted $upstream_status; try_files /files/there =404; add_header X-Granted $granted; }
        location = /allows { internal; proxy_pass http://named; }
        location /if { if ($arg_a) { add_header X-A $arg_a; } if ($arg_b) { return 200 b; } return 200 if; }
        location /except/ { limit_except GET { deny all; } try_files /files/there =404; }
        location /nested/ { add_header X-Outer 1; location ~ page$ { add_header X-Inner 1; } }
        location /logged { access_log logs/own.log; return 200 logged; }
        location /charset { charset x-own; default_type text/plain; return 200 text; }
        location /variable { set $to 127.0.0.1:${backend}; proxy_pass http://$to; }
      } }`,
  });
  const { port } = holdfast;
  assert.ok(existsSync(join(holdfast.prefix, "logs/own.log")), "the master opens all log files");
  for (const round of ["first", "second"]) {
    const body = async (path: string) => (await get(port, path)).body;
    const redirect = await get(port, "/proxied");
    assert.equal(redirect.status, 301, round);
    assert.equal(await body("/proxied/x"), "/proxied/x");
    assert.equal((await get(port, "/named")).status, 301);
    assert.equal(await body("/named/x"), "/on/x");
    assert.equal(await body("/exact"), "exact GET");
    assert.equal(await body("/re/abc/7?x=y"), "abc 7 y");
    assert.equal(await body("/part"), "part .");
    assert.equal(await body("/files/there"), "a file");
    assert.equal(await body("/files/other"), "missing /files/other");
    assert.equal(await body("/sets/"), "mapped set");
    const granted = await get(port, "/asks/file");
    assert.deepEqual([granted.status, granted.header("x-granted")], [200, "200"]);
    assert.equal((await get(port, "/if?a=1")).header("x-a"), "1");
    assert.equal(await body("/if?b=1"), "b");
    assert.equal(await body("/except/"), "a file");
    const nested = await get(port, "/nested/page");
    assert.deepEqual([nested.header("x-outer"), nested.header("x-inner")], [undefined, "1"]);
    assert.equal(await body("/logged"), "logged");
    assert.equal((await get(port, "/charset")).header("content-type"), "text/plain; charset=x-own");
    assert.equal(await body("/variable"), "/variable");
  }
  await holdfast.waitForLog(/^(?:.*\n){2}$/, "logs/own.log");
  await holdfast.waitForLog(/^\/uses set\n/m, "logs/access.log");
});

test("the first request to a server of any kind is answered as the second", async (t) => {
  const { port: backend } = await httpBackend(t, (request, response) => response.end(`${request.url}`));
  const holdfast = await startHoldfast(t, {
    files: { "html/one/there": "one's", "html/index.html": "the default's" },
    config: ([port]) => `worker_processes 1; http {
      upstream named { server 127.0.0.1:${backend}; }
      map $host $mapped { default "mapped $word"; }
      server { listen 127.0.0.1:${port}; root html; }
      server { listen 127.0.0.1:${port}; server_name lone; location /named/ { proxy_pass http://named/on/; } }
      server { listen 127.0.0.1:${port}; server_name one; root html/one; error_page 404 = /gone; add_header X-Server one always;
        location /named/ { proxy_pass http://named/on/; }
        location = /gone { internal; return 410 "gone $uri"; }
        location ~ ^/re/(\\d)$ { return 200 "digit $1"; }
        location /nested { location /nested/inner { return 200 inner; } return 200 outer; } }
      server { listen 127.0.0.1:${port}; server_name returns; return 200 "returned $host"; }
      server { listen 127.0.0.1:${port}; server_name rewrites; rewrite ^/old/(.*)$ /new/$1; location /new/ { return 200 "$uri"; } }
      server { listen 127.0.0.1:${port}; server_name sets; set $word set; location / { return 200 "$mapped"; } }
      server { listen 127.0.0.1:${port}; server_name ~^(?<sub>[a-z]+)\\.names$; location / { return 200 "sub $sub"; } }
      server { listen 127.0.0.1:${port}; server_name logs; access_log logs/own.log; location / { return 200 logged; } }
      server { listen 127.0.0.1:${port}; server_name limits; client_max_body_size 1; large_client_header_buffers 2 512;
        location / { return 200 small; } }
    }`,
  });
  const { port } = holdfast;
  assert.ok(existsSync(join(holdfast.prefix, "logs/own.log")), "the master opens all log files");
  for (const round of ["first", "second"]) {
    const ask = (host: string, path: string, field = "X-None: 1") => get(port, path, `Host: ${host}`, field);
    const body = async (host: string, path: string) => (await ask(host, path)).body;
    assert.equal(await body("one", "/there"), "one's", round);
    assert.equal(await body("other", "/"), "the default's");
    const gone = await ask("one", "/nowhere");
    assert.deepEqual([gone.status, gone.body, gone.header("x-server")], [410, "gone /gone", "one"]);
    assert.equal((await ask("lone", "/named")).status, 301);
    assert.equal(await body("lone", "/named/x"), "/on/x");
    assert.equal(await body("one", "/named/x"), "/on/x");
    assert.equal(await body("one", "/re/7"), "digit 7");
    assert.equal(await body("one", "/nested/inner"), "inner");
    assert.equal(await body("one", "/nested"), "outer");
    assert.equal(await body("returns", "/x"), "returned returns");
    assert.equal(await body("rewrites", "/old/page"), "/new/page");
    assert.equal(await body("sets", "/"), "mapped set");
    assert.equal(await body("shop.names", "/"), "sub shop");
    assert.equal(await body("logs", "/"), "logged");
    assert.equal((await ask("limits", "/", `X-Long: ${"x".repeat(2000)}`)).status, 400);
    assert.equal(await body("limits", "/"), "small");
    await holdfast.waitForLog(round === "first" ? /^.*\n$/ : /^.*\n.*\n$/, "logs/own.log");
  }
});

test("a request goes on under the configuration it began with, also where that had built nothing yet", async (t) => {
  let answer: (() => void) | undefined;
  const { port: backend } = await httpBackend(t, (_request, response) => {
    answer = () => response.writeHead(200, { "X-Accel-Redirect": "/later" }).end();
  });
  const config = (
    text: string,
    [port]: readonly number[],
  ) => `error_log logs/error.log notice; worker_processes 1; http {
    server { listen 127.0.0.1:${port};
      location / { proxy_pass http://127.0.0.1:${backend}; }
      location /later { set $text ${text}; return 200 "$text later"; }
      location /other { return 200 "${text} other"; } } }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config("old", ports) });
  const connection = await RawConnection.open(holdfast.port);
  t.after(() => connection.close());
  connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await waitFor(() => answer !== undefined, "the request at the backend");
  await holdfast.reload(config("new", holdfast.ports));
  assert.equal((await get(holdfast.port, "/other")).body, "new other");
  answer?.();
  assert.equal((await connection.readResponse()).body, "old later");
  connection.write("GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal((await connection.readResponse()).body, "new later");
});

test("first requests to a thousand locations at once are answered, and a reload between makes them anew", async (t) => {
  const many = 1000;
  const config = (
    text: string,
    [port]: readonly number[],
  ) => `error_log logs/error.log notice; worker_processes 1; http { access_log off;
    server { listen 127.0.0.1:${port};
      ${Array.from({ length: many }, (_, i) => `location /l${i}/ { set $own ${i}; return 200 "${text} $own $arg_a"; }`).join("\n")} } }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config("one", ports) });
  const [worker] = workersOf(holdfast.pid);
  const all = async (text: string, step: number) => {
    const connection = await RawConnection.open(holdfast.port);
    t.after(() => connection.close());
    for (let i = 0; i < many; i += step) connection.write(`GET /l${i}/?a=b HTTP/1.1\r\nHost: a\r\n\r\n`);
    for (let i = 0; i < many; i += step) assert.equal((await connection.readResponse()).body, `${text} ${i} b`);
  };
  await Promise.all([all("one", 1), all("one", 2), all("one", 3)]);
  await holdfast.reload(config("two", holdfast.ports));
  await all("two", 7);
  await holdfast.reload(config("three", holdfast.ports));
  await Promise.all([all("three", 3), all("three", 1)]);
  assert.deepEqual(workersOf(holdfast.pid), [worker]);
});

test("a location alone on its level is not built before all servers are read", async (t) => {
  const { port: backend } = await httpBackend(t, (request, response) => response.end(`${request.url}`));
  const holdfast = await startHoldfast(t, {
    config: ([port, other]) => `http {
      server { listen 127.0.0.1:${port}; location /alone/ { proxy_pass http://127.0.0.1:${backend}; } }
      server { listen 127.0.0.1:${other}; location / { set $later "set $uri"; return 200 $later; location /nested/ { return 200 $later; } } } }`,
  });
  const [port, other] = holdfast.ports;
  for (const path of ["/alone", "/alone/x", "/"]) {
    const { status } = await get(port, path);
    assert.equal(status, { "/alone": 301, "/alone/x": 200 }[path] ?? 404, path);
  }
  assert.equal((await get(other, "/x")).body, "set /x");
  assert.equal((await get(other, "/nested/x")).body, "");
});

test("a location that cannot be built after all hinders no start: it answers 500 with an alert, and the worker lives", async (t) => {
  const holdfast = await startHoldfast(t, {
    entry: bundled(fileURLToPath(new URL("../support/throwing_main.ts", import.meta.url))),
    config: ([port]) => `worker_processes 1; http { server { listen 127.0.0.1:${port};
      location /broken { throw_at build; } location / { return 200 alive; } } }`,
  });
  for (let i = 0; i < 2; i++) {
    assert.equal((await get(holdfast.port, "/broken")).status, 500);
    assert.equal((await get(holdfast.port, "/")).body, "alive");
  }
  await holdfast.waitForLog(
    /\[alert\] [^\n]*thrown on demand at [^\n]*, client: 127\.0\.0\.1, [^\n]*request: "GET \/broken HTTP\/1\.1"/,
  );
  assert.doesNotMatch(holdfast.errorLog(), /exited/);
});
