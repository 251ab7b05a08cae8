import assert from "node:assert/strict";
import { test } from "node:test";
import { runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection, type RawResponse, request } from "../support/tcp.ts";

const all = (response: RawResponse, name: string): string[] =>
  response.headers.filter(([known]) => known === name).map(([, value]) => value);

function config([port]: readonly number[]): string {
  return `http { access_log off;
    add_header X-Outer outer;
    map $arg_e $lifetime { a 1h; b off; c epoch; default rubbish; }
    server { listen 127.0.0.1:${port};
      location /inherits { return 200 ok; }
      location /own { add_header X-Inner $arg_v; return 200 ok; }
      location /merge { add_header X-Inner inner; add_header_inherit merge; return 200 ok; }
      location /off { add_header_inherit off; return 200 ok; }
      location /always { add_header X-Always yes always; add_header X-Good yes; return 404; }
      location /special { root html; add_header Last-Modified "Sun, 13 Sep 2020 12:26:40 GMT"; add_header ETag '"mine"';
        add_header Cache-Control private; add_header Cache-Control no-store; }
      location /gone { root html; add_header Last-Modified ""; add_header ETag ""; }
      location /trailers { root html; add_trailer X-Length $content_length; add_trailer X-Sent yes; }
      location /expires/epoch { expires epoch; return 200 ok; }
      location /expires/max { expires max; return 200 ok; }
      location /expires/hour { expires 1h; return 200 ok; }
      location /expires/past { expires -1; return 200 ok; }
      location /expires/zero { expires 0; return 200 ok; }
      location /expires/daily { expires @23h59m59s; return 200 ok; }
      location /expires/modified/ { alias html/; expires modified 1d; }
      location /expires/map { expires $lifetime; return 200 ok; }
      location /expires/bad { expires 1h; return 500; }
      location /block { limit_except GET { deny all; } add_header X-Block outer; return 200 ok; }
    } }`;
}

test("add_header: inheritance, statuses, and the fields that are set rather than added", async (t) => {
  const files = { "html/special": "x", "html/gone": "x" };
  const { port } = await startHoldfast(t, { config, files });
  assert.equal((await get(port, "/inherits")).header("x-outer"), "outer");
  const own = await get(port, "/own?v=value");
  assert.deepEqual([own.header("x-inner"), own.header("x-outer")], ["value", undefined]);
  assert.equal((await get(port, "/own")).header("x-inner"), undefined, "an empty value adds nothing");
  const merged = await get(port, "/merge");
  assert.deepEqual([merged.header("x-inner"), merged.header("x-outer")], ["inner", "outer"]);
  assert.equal((await get(port, "/off")).header("x-outer"), undefined);
  const missing = await get(port, "/always");
  assert.deepEqual([missing.status, missing.header("x-always"), missing.header("x-good")], [404, "yes", undefined]);

  const special = await get(port, "/special");
  assert.deepEqual(all(special, "last-modified"), ["Sun, 13 Sep 2020 12:26:40 GMT"]);
  assert.deepEqual(all(special, "etag"), ['"mine"']);
  assert.deepEqual(all(special, "cache-control"), ["private", "no-store"]);
  const gone = await get(port, "/gone");
  assert.deepEqual([gone.status, gone.header("last-modified"), gone.header("etag")], [200, undefined, undefined]);
});

test("expires and Cache-Control", async (t) => {
  const { port } = await startHoldfast(t, { config, files: { "html/file": "x" } });
  const of = async (path: string) => {
    const response = await get(port, `/expires/${path}`);
    const date = Date.parse(response.header("date") ?? "");
    const expires = response.header("expires");
    const seconds = expires === undefined ? undefined : (Date.parse(expires) - date) / 1000;
    return { response, seconds, cache: response.header("cache-control") };
  };
  const epoch = await of("epoch");
  assert.equal(epoch.response.header("expires"), "Thu, 01 Jan 1970 00:00:01 GMT");
  assert.equal(epoch.cache, "no-cache");
  assert.equal((await of("max")).cache, "max-age=315360000");
  const hour = await of("hour");
  assert.equal(hour.cache, "max-age=3600");
  assert.ok(Math.abs((hour.seconds ?? 0) - 3600) <= 1);
  assert.equal((await of("past")).cache, "no-cache");
  assert.equal((await of("zero")).cache, "max-age=0");
  const daily = await of("daily");
  assert.match(daily.cache ?? "", /^max-age=\d{1,5}$/);
  assert.ok((daily.seconds ?? -1) >= 0 && (daily.seconds ?? 0) <= 90_000);
  const modified = await of("modified/file");
  const lastModified = Date.parse(modified.response.header("last-modified") ?? "");
  assert.equal(Date.parse(modified.response.header("expires") ?? "") - lastModified, 86_400_000);
  assert.equal((await of("map?e=a")).cache, "max-age=3600");
  assert.equal((await of("map?e=b")).cache, undefined);
  assert.equal((await of("map?e=c")).cache, "no-cache");
  assert.equal((await of("map?e=d")).cache, undefined, "a value that is none sets nothing");
  assert.equal((await of("bad")).cache, undefined, "errors have no lifetime");
});

test("trailers follow a chunked body, and nothing is framed twice", async (t) => {
  const { port } = await startHoldfast(t, { config, files: { "html/trailers": "body" } });
  const connection = await RawConnection.open(port);
  connection.write("GET /trailers HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  const raw = await connection.readAll();
  connection.close();
  assert.match(raw, /\r\nTransfer-Encoding: chunked\r\n/);
  assert.doesNotMatch(raw, /\r\nContent-Length:/);
  assert.match(raw, /\r\n\r\n4\r\nbody\r\n0\r\nX-Length: 0\r\nX-Sent: yes\r\n\r\n$/);
  const old = await request(port, "GET /trailers HTTP/1.0\r\n\r\n");
  assert.deepEqual([old.header("content-length"), old.header("transfer-encoding"), old.body], ["4", undefined, "body"]);
  const head = await request(port, "HEAD /trailers HTTP/1.1\r\nHost: x\r\n\r\n");
  assert.equal(head.header("content-length"), "4");
});

test("what nginx refuses is refused in its words", async (t) => {
  const cases: [line: string, message: string][] = [
    ["expires soon;", '"expires" directive invalid value'],
    ["expires later 1h;", '"expires" directive invalid value'],
    ["expires @25h;", '"expires" directive daily time value must be less than 24 hours'],
    ["expires modified @1h;", '"expires" directive daily time cannot be used with "modified" parameter'],
    ["expires 1h; expires 2h;", '"expires" directive is duplicate'],
    ["add_header X y sometimes;", 'invalid parameter "sometimes"'],
    ["add_header_inherit maybe;", 'invalid value "maybe"'],
    ["disable_symlinks maybe;", 'invalid parameter "maybe"'],
    ["disable_symlinks off from=/x;", '"from=" cannot be used with "off" parameter'],
    ["allow nowhere;", 'invalid parameter "nowhere"'],
    ["location / { limit_except FETCH { deny all; } }", 'invalid method "FETCH"'],
    ["access_log logs/a.log nothing;", 'unknown log format "nothing"'],
    ["access_log off main;", 'invalid parameter "main"'],
    ["access_log logs/a.log combined flush=1s;", 'no buffer is defined for access_log "logs/a.log"'],
    ["access_log logs/$host.log combined buffer=4k;", "buffered logs cannot have variables in name"],
    ["access_log logs/a.log combined gzip=12;", 'invalid compression level "12"'],
  ];
  const check = async ([line, message]: readonly [string, string]): Promise<void> => {
    const { code, stderr } = await runHoldfast(t, { args: ["-t"], config: `http { server { listen 1; ${line} } }` });
    assert.equal(code, 1, line);
    assert.ok(stderr.includes(`[emerg] ${message} in `), `${line}\n${stderr}`);
  };
  while (cases.length > 0) await Promise.all(cases.splice(0, 4).map(check));
});
