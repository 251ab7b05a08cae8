/** `sticky cookie` and `sticky route`: who is bound to which server, and how a client is told. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { get, type RawResponse } from "../support/tcp.ts";

const md5 = (text: string) => createHash("md5").update(text).digest("hex");

/** The servers a test's upstream is made of: they answer with their number. */
const backends = (ports: readonly number[]) =>
  ports.map((port, i) => `server { listen 127.0.0.1:${port}; location / { return 200 ${i}; } }`).join("\n");

const cookiesOf = ({ headers }: RawResponse) =>
  headers.filter(([name]) => name === "set-cookie").map(([, value]) => value);

test("a client goes to the server that its cookie names, and every response has the cookie", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([listen, a, b, c]) => `http {
      upstream u { server 127.0.0.1:${a}; server 127.0.0.1:${b}; server 127.0.0.1:${c} route=third; sticky cookie srv; }
      server { listen ${listen}; location / { proxy_pass http://u; } }
      ${backends([a, b, c])} }`,
  });
  const [, a, b] = holdfast.ports;
  const names = [md5(`127.0.0.1:${a}`), md5(`127.0.0.1:${b}`), "third"];
  for (const [server, name] of names.entries()) {
    for (let i = 0; i < 3; i++) {
      const response = await get(holdfast.port, "/", `Cookie: other=1; SRV=${name}`);
      assert.equal(response.body, String(server));
      assert.deepEqual(cookiesOf(response), [`srv=${name}`]);
    }
  }
  const taken = new Set<string>();
  for (const cookie of ["srv=unknown", "srv=", `srv=${names[0]}0`, "x=third"]) {
    const response = await get(holdfast.port, "/", `Cookie: ${cookie}`);
    assert.deepEqual(cookiesOf(response), [`srv=${names[Number(response.body)]}`]);
    taken.add(response.body);
  }
  assert.ok(taken.size > 1, "clients without a name that is known take turns");
});

test("the cookie has what was asked for, in nginx's order", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([listen, a]) => {
      const parameters = {
        all: 'domain=example.com path=/x "expires=1h 3m" secure httponly samesite=Lax',
        max: "expires=max",
        variable: "domain=$arg_d$arg_e samesite=$arg_s",
      };
      const upstreams = Object.entries(parameters).map(
        ([name, text]) => `upstream ${name} { server 127.0.0.1:${a} route=r; sticky cookie c ${text}; }`,
      );
      return `http { ${upstreams.join("\n")}
        server { listen ${listen}; location ~ ^/(?<u>\\w+) { proxy_pass http://$u; } }
        ${backends([a])} }`;
    },
  });
  const cookie = async (path: string) => cookiesOf(await get(holdfast.port, path)).join();
  const all = await cookie("/all");
  assert.match(
    all,
    /^c=r; expires=\w{3}, \d\d-\w{3}-\d\d \d\d:\d\d:\d\d GMT; max-age=3780; domain=example.com; httponly; secure; samesite=Lax; path=\/x$/,
  );
  const expires = Date.parse((/expires=([^;]*)/.exec(all) ?? [])[1].replace(/-(\w{3})-/, " $1 20"));
  assert.ok(Math.abs(expires - Date.now() - 3_780_000) < 60_000);
  assert.equal(await cookie("/max"), "c=r; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000");
  assert.equal(await cookie("/variable"), "c=r");
  assert.equal(await cookie("/variable?d=a&e=.b&s=NONE"), "c=r; domain=a.b; samesite=NONE");
  assert.equal(await cookie("/variable?s=else"), "c=r; samesite=strict");
});

test("the cookie names the server that answered last, also on an error page, and none where there is no server", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([listen, a, b, dead]) => `http {
      upstream retried { server 127.0.0.1:${a} route=a; server 127.0.0.1:${b} route=b backup; sticky cookie c; }
      upstream dead { server 127.0.0.1:${dead} route=dead; sticky cookie c; }
      upstream down { server 127.0.0.1:${a} down; sticky cookie c; }
      server { listen ${listen};
        location /retried { proxy_pass http://retried; proxy_next_upstream http_503; }
        location /dead { proxy_pass http://dead; }
        location /down { proxy_pass http://down; } }
      server { listen 127.0.0.1:${a}; return 503; }
      server { listen 127.0.0.1:${b}; add_header Set-Cookie own=1; return 200 b; } }`,
  });
  const retried = await get(holdfast.port, "/retried", "Cookie: c=a");
  assert.equal(retried.body, "b");
  assert.deepEqual(cookiesOf(retried), ["c=b", "own=1"]);
  const dead = await get(holdfast.port, "/dead");
  assert.equal(dead.status, 502);
  assert.deepEqual(cookiesOf(dead), ["c=dead"]);
  const down = await get(holdfast.port, "/down");
  assert.equal(down.status, 502);
  assert.deepEqual(cookiesOf(down), []);
});

test("sticky route takes the first variable that is not empty; a server that drains has its sessions alone", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([listen, a, b, c]) => `http {
      map $cookie_JSESSIONID $from_cookie { ~.+\\.(?P<route>\\w+)$ $route; }
      upstream u {
        server 127.0.0.1:${a} route=a drain; server 127.0.0.1:${b} route=b; server 127.0.0.1:${c} route=c;
        sticky route $from_cookie $arg_route; }
      server { listen ${listen}; location / { proxy_pass http://u; } }
      ${backends([a, b, c])} }`,
  });
  const bodies = async (path: string, ...fields: string[]) => {
    const found = new Set<string>();
    for (let i = 0; i < 6; i++) found.add((await get(holdfast.port, path, ...fields)).body);
    return [...found].sort().join("");
  };
  assert.equal(await bodies("/"), "12");
  assert.equal(await bodies("/?route=a"), "0");
  assert.equal(await bodies("/?route=a", "Cookie: JSESSIONID=1234.c"), "2");
  assert.equal(await bodies("/?route=b", "Cookie: JSESSIONID=1234."), "1");
});

const REFUSED: readonly (readonly [lines: string, sentence: string])[] = [
  ["sticky cookie;", 'invalid number of arguments in "sticky" directive'],
  ["sticky ip x;", 'unknown parameter "ip"'],
  ["sticky cookie x; sticky cookie y;", '"sticky" directive is duplicate'],
  ['sticky cookie "";', '"sticky" directive empty cookie name'],
  ["sticky cookie x domain=;", '"sticky" directive no value for "domain"'],
  ["sticky cookie x path=;", '"sticky" directive no value for "path"'],
  ["sticky cookie x path=/ path=/;", '"sticky" directive parameter "path" is duplicate'],
  ["sticky cookie x domain=a domain=b;", '"sticky" directive parameter "domain" is duplicate'],
  ["sticky cookie x expires=1 expires=max;", '"sticky" directive parameter "expires" is duplicate'],
  ["sticky cookie x expires=;", '"sticky" directive invalid "expires" parameter value'],
  ["sticky cookie x expires=never;", '"sticky" directive invalid "expires" parameter value'],
  ["sticky cookie x secure secure;", '"sticky" directive parameter "secure" is duplicate'],
  ["sticky cookie x httponly httponly;", '"sticky" directive parameter "httponly" is duplicate'],
  ["sticky cookie x samesite=lax samesite=lax;", '"sticky" directive parameter "samesite" is duplicate'],
  ["sticky cookie x samesite=;", '"sticky" directive invalid "samesite" parameter value'],
  ["sticky cookie x samesite=much;", '"sticky" directive invalid "samesite" parameter value'],
  ["sticky cookie x Secure;", 'unknown parameter "Secure"'],
  ["sticky cookie x secured;", 'unknown parameter "secured"'],
  ["sticky route a;", 'invalid variable name "a"'],
  ["sticky route $;", 'invalid variable name "$"'],
  ["sticky route $nothing;", 'unknown "nothing" variable'],
];

test("wrong parameters are refused in nginx's words", async (t) => {
  // One run says no more than so many.
  for (const some of [REFUSED.slice(0, 12), REFUSED.slice(12)]) {
    const upstreams = some.map(([lines], i) => `upstream u${i} { server 127.0.0.1:1; ${lines} }`);
    const { code, stderr } = await runHoldfast(t, { config: `http {\n${upstreams.join("\n")}\n}`, args: ["-t"] });
    assert.equal(code, 1);
    for (const [i, [lines, sentence]] of some.entries()) {
      assert.ok(stderr.includes(`] ${sentence} in `) && stderr.includes(`conf:${i + 2}\n`), `${lines}: ${stderr}`);
    }
  }
});

test("a balancing method behind `sticky` takes its place, with a warning", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([listen, a]) => `http {
      upstream u { server 127.0.0.1:${a}; sticky cookie c; least_conn; }
      server { listen ${listen}; location / { proxy_pass http://u; } }
      ${backends([a])} }`,
  });
  assert.match(holdfast.stderr + holdfast.errorLog(), /\[warn\] .*load balancing method redefined in /);
  assert.deepEqual(cookiesOf(await get(holdfast.port, "/")), []);
});
