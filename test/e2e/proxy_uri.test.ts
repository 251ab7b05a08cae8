import assert from "node:assert/strict";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { startHoldfast, startNginx } from "../support/holdfast.ts";
import { request } from "../support/tcp.ts";

/** Locations with `B` for the backend's address. */
const LOCATIONS = `
  location / { proxy_pass http://B; }
  location /slash/ { proxy_pass http://B/; }
  location /path/ { proxy_pass http://B/a/b%20c; }
  location /cut { proxy_pass http://B/new; }
  location = /exact { proxy_pass http://B/one?x=y; }
  location ~ ^/regex/(.*)$ { proxy_pass http://B; }
  location ~ ^/captured/(.*)$ { proxy_pass http://B/c/$1; }
  location ~ ^/args/(.*)$ { proxy_pass http://B/c/$1$is_args$args; }
  location /rewritten/ { rewrite ^/rewritten/(.*)$ /to/$1?a=b break; proxy_pass http://B; }
  location /rewritten-uri/ { rewrite ^/rewritten-uri/(.*)$ /to/$1 break; proxy_pass http://B/lost/; }
  location /if/ { if ($arg_x) { set $y 1; } proxy_pass http://B/in/; }
  location /ifpass/ { if ($arg_x) { proxy_pass http://B; } proxy_pass http://B/out/; }
  location /limit/ { limit_except GET { proxy_pass http://B; } proxy_pass http://B/get/; }
  location /paged { error_page 404 = /slash/from-page; return 404; }
  location /named { error_page 404 = @named; return 404; }
  location @named { proxy_pass http://B; }
  location /redirect/ { proxy_pass http://B/r/; proxy_set_header X-Location "http://B/r/moved"; }
  location /redirect-plain { proxy_pass http://B; proxy_set_header X-Location "http://B/redirect-plain/x"; }
  location /redirect-rules/ { proxy_pass http://B; proxy_redirect ~^http://[^/]+/old/(.*)$ /new/$1; proxy_redirect default;
    proxy_set_header X-Location $arg_l; }
  location /redirect-off/ { proxy_pass http://B/r/; proxy_redirect off; proxy_set_header X-Location "http://B/r/moved"; }
  location /cookies/ { proxy_pass http://B; proxy_cookie_domain inner.test $host; proxy_cookie_path /a/ /z/;
    proxy_cookie_path ~*^/q(.*)$ /r$1; proxy_cookie_flags one secure samesite=lax; proxy_cookie_flags two nosecure httponly;
    proxy_set_header X-Cookies yes; }`;

const TARGETS = [
  ...["/", "/a%2Fb/../c?d=%20e", "//double//slash", "/%7Etilde/%zz?", "/plain?", "/a;b=c/d", "/caf%C3%A9", "/sp%20ace"],
  ...[
    "/slash/",
    "/slash/x%20y?z",
    "/slash/%2e%2e/up",
    "/slash/a%3Fb",
    "/slash",
    "/path/x",
    "/cut",
    "/cutting/x",
    "/exact?y",
  ],
  ...["/regex/a%20b?c", "/captured/a+b", "/captured/%3F?x=1", "/args/y?x=1", "/rewritten/x%20y?c=d"],
  ...[
    "/rewritten-uri/x",
    "/if/a",
    "/if/a?x=1",
    "/ifpass/a%20b",
    "/ifpass/a%20b?x=1",
    "/limit/a",
    "/paged?x=y",
    "/named%20?x=y",
  ],
  ...[
    "/redirect/x",
    "/redirect-plain",
    "/redirect-rules/?l=http://h/old/a%20b",
    "/redirect-rules/?l=/rel",
    "/redirect-off/x",
  ],
  "/cookies/",
];

test("the URI that is passed on, and Location and Set-Cookie on the way back, are nginx's", {
  skip: have("nginx"),
}, async (t) => {
  const backend = await httpBackend(t, (incoming, response) => {
    const location = incoming.headers["x-location"];
    if (typeof location === "string" && location !== "") response.setHeader("Location", location);
    if (incoming.headers["x-cookies"] !== undefined) {
      response.setHeader("Set-Cookie", [
        "one=1; Domain=.inner.test; Path=/a/b; HttpOnly",
        "two=2; path=/Q/x; Secure; Domain=inner.test",
        "three=3; Path=/a/",
        "four",
        "five  =  5 6 ;  Path  =  /a/   ;Secure ;   ",
      ]);
    }
    response.end(`${incoming.method} ${incoming.url} ${incoming.headers.host}`);
  });
  const config = ([port]: readonly number[]) => `http { access_log off; proxy_http_version 1.1;
    server { listen 127.0.0.1:${port}; server_name test; ${LOCATIONS.replaceAll("B", backend.address)} } }`;
  const holdfast = await startHoldfast(t, { config });
  const nginx = await startNginx(t, { config });
  for (const method of ["GET", "PUT"]) {
    for (const target of TARGETS) {
      const answers = await Promise.all(
        [holdfast, nginx].map(async ({ port }) => {
          const { status, body, headers } = await request(
            port,
            `${method} ${target} HTTP/1.1\r\nHost: test:1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
          );
          const seen = headers.filter(([name]) => name === "location" || name === "set-cookie");
          return {
            status,
            body: status === 200 ? body : "",
            seen: JSON.stringify(seen).replaceAll(`:${port}`, ":PORT"),
          };
        }),
      );
      assert.deepEqual(answers[0], answers[1], `${method} ${target}`);
    }
  }
  // Where nginx sends the space that a variable brings in, and with it a request line of four words, it stays escaped.
  const { body } = await request(
    holdfast.port,
    "GET /captured/a%20b HTTP/1.1\r\nHost: test:1\r\nConnection: close\r\n\r\n",
  );
  assert.equal(body, `GET /c/a%20b ${backend.address}`);
});
