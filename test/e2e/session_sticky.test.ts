/** Tengine's `session_sticky` and `session_sticky_hide_cookie`. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { type Running, runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { get, type RawResponse } from "../support/tcp.ts";

const md5 = (text: string) => createHash("md5").update(text).digest("hex");

const cookiesOf = ({ headers }: RawResponse) =>
  headers.filter(([name]) => name === "set-cookie").map(([, value]) => value);

/** An upstream for each of the parameters, over the same two servers, and a location of its name that hides the cookie. */
const config =
  (upstreams: Readonly<Record<string, string>>, hidden = true) =>
  ([listen, a, b]: readonly number[]) => {
    const blocks = Object.entries(upstreams).map(
      ([name, parameters]) => `upstream ${name} {
        session_sticky ${parameters}; server 127.0.0.1:${a} id=first; server 127.0.0.1:${b} route=second; }`,
    );
    const locations = Object.keys(upstreams).map(
      (name) => `location /${name} { ${hidden ? `session_sticky_hide_cookie upstream=${name};` : ""}
        proxy_pass http://${name}/; }`,
    );
    const servers = [a, b].map(
      (port, i) => `server { listen 127.0.0.1:${port}; location / { return 200 "${i} $http_cookie"; }
        location /set { add_header Set-Cookie "a=b"; add_header Set-Cookie "APP=own; Path=/x"; return 200 ${i}; } }`,
    );
    return `http { ${blocks.join("\n")} server { listen ${listen}; ${locations.join("\n")} } ${servers.join("\n")} }`;
  };

const names = ({ ports: [, a, b] }: Running) => [md5(`127.0.0.1:${a}`), md5(`127.0.0.1:${b}`)];

test("insert: a new client gets the cookie once, and keeps its server", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: config({ default: "", all: "cookie=uid domain=.shop.example path=/cart maxage=120 hash=plain" }),
  });
  const known = names(holdfast);
  for (let i = 0; i < 2; i++) {
    const first = await get(holdfast.port, "/default");
    const server = Number(first.body[0]);
    assert.deepEqual(cookiesOf(first), [`route=${known[server]}; Path=/`]);
    for (let again = 0; again < 3; again++) {
      const response = await get(holdfast.port, "/default", `Cookie: a=1; route=${known[server]}; b=2`);
      assert.equal(response.body, `${server} a=1; route=${known[server]}; b=2`);
      assert.deepEqual(cookiesOf(response), []);
    }
  }
  const plain = await get(holdfast.port, "/all");
  const name = plain.body[0] === "0" ? "first" : "second";
  assert.match(
    cookiesOf(plain).join(),
    new RegExp(
      `^uid=${name}; Domain=\\.shop\\.example; Path=/cart; Max-Age=120; Expires=\\w{3}, \\d\\d-\\w{3}-\\d\\d .* GMT$`,
    ),
  );
  for (const [server, cookie] of ["uid=first", "uid=second"].entries()) {
    assert.equal((await get(holdfast.port, "/all", `Cookie: ${cookie}`)).body[0], String(server));
  }
});

test("option=indirect: servers do not see the cookie, and without session_sticky_hide_cookie nobody gets one", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: config({ hidden: "option=indirect", app: "cookie=APP option=indirect" }),
  });
  const [first] = names(holdfast);
  for (const [sent, seen] of [
    [`route=${first}`, ""],
    [`a=1; route=${first}`, "a=1"],
    [`route=${first}; a=1`, "a=1"],
    [`a=1;route=${first};b=2`, "a=1;b=2"],
    [`xroute=1; route= ${first} ; route=2`, "xroute=1; route=2"],
  ]) {
    assert.equal((await get(holdfast.port, "/hidden", `Cookie: ${sent}`)).body, `0 ${seen}`, sent);
  }
  const two = await get(holdfast.port, "/hidden", "Cookie: a=1", `Cookie: route=${first}`, "Cookie: b=2");
  assert.equal(two.body, "0 a=1; b=2");
  const own = cookiesOf(await get(holdfast.port, "/app/set"));
  assert.equal(own.length, 2);
  assert.match(own[1], /^APP=\w{32}; Path=\/$/);

  const bare = await startHoldfast(t, {
    config: config({ hidden: "option=indirect", prefix: "mode=prefix cookie=APP" }, false),
  });
  assert.deepEqual(cookiesOf(await get(bare.port, "/hidden")), []);
  assert.deepEqual(cookiesOf(await get(bare.port, "/prefix/set")), ["a=b", "APP=own; Path=/x"]);
});

test("maxidle and maxlife: the cookie has its times, is renewed, and ends", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: config({ idle: "maxidle=40 maxlife=1m maxage=120", life: "maxlife=60" }),
  });
  const [first] = names(holdfast);
  const now = Math.floor(Date.now() / 1000);
  const answers = async (path: string, last: number, since: number, sid = first) => {
    const found: { server: string; sid: string; last: number; since: number }[] = [];
    for (let i = 0; i < 4; i++) {
      const response = await get(holdfast.port, path, `Cookie: route=${sid}|${last}|${since}`);
      const [, name, at, begun] = /^route=(\w+)\|(\d+)\|(\d+); Path=\/$/.exec(cookiesOf(response).join()) ?? [];
      found.push({ server: response.body[0], sid: name, last: Number(at), since: Number(begun) });
    }
    return found;
  };
  for (const { server, sid, last, since } of await answers("/idle", now - 30, now - 30)) {
    assert.deepEqual([server, sid, since], ["0", first, now - 30]);
    assert.ok(last >= now && last < now + 60);
  }
  for (const [path, last, since] of [
    ["/idle", now - 100, now - 30],
    ["/idle", now - 20, now - 100],
    ["/idle", now + 100_000, now - 20],
    ["/life", now - 20, now - 100],
  ] as const) {
    const found = await answers(path, last, since);
    assert.equal(new Set(found.map(({ server }) => server)).size, 2, `${path} ${last} ${since}`);
    for (const one of found) assert.ok(one.since >= now && one.sid !== "");
  }
  for (const cookie of [`${first}|1`, `${first}|x|1`, `${first}||`, first, `${first}|1|2|3`]) {
    const found = new Set<string>();
    for (let i = 0; i < 4; i++) found.add((await get(holdfast.port, "/idle", `Cookie: route=${cookie}`)).body[0]);
    assert.equal(found.size, 2, cookie);
  }
});

test("rewrite and prefix: only a cookie that a server sets binds a client", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: config({ rewrite: "mode=rewrite cookie=APP", prefix: "mode=prefix cookie=APP" }),
  });
  const known = names(holdfast);
  for (const mode of ["rewrite", "prefix"]) {
    assert.deepEqual(cookiesOf(await get(holdfast.port, `/${mode}`)), []);
    const set = await get(holdfast.port, `/${mode}/set`);
    const name = known[Number(set.body)];
    const value = mode === "rewrite" ? name : `${name}~own`;
    assert.deepEqual(cookiesOf(set), ["a=b", `APP=${value}; Path=/x`]);
    const seen = mode === "rewrite" ? name : "own";
    for (let i = 0; i < 3; i++) {
      const { body } = await get(holdfast.port, `/${mode}`, `Cookie: b=1; APP=${value}; c=2`);
      assert.equal(body, `${set.body} b=1; APP=${seen}; c=2`);
    }
  }
});

test("fallback: others serve a session whose server cannot be had, or it gets 502", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([listen, a, dead]) => `http {
      upstream on { session_sticky hash=plain; server 127.0.0.1:${a} id=a; server 127.0.0.1:${dead} id=dead; server 127.0.0.1:${a} down id=down; }
      upstream off { session_sticky hash=plain fallback=off; server 127.0.0.1:${a} id=a; server 127.0.0.1:${dead} id=dead; server 127.0.0.1:${a} down id=down; }
      server { listen ${listen}; location /on { proxy_pass http://on; } location /off { proxy_pass http://off; } }
      server { listen 127.0.0.1:${a}; return 200 a; } }`,
  });
  for (const sid of ["dead", "down", "unknown"]) {
    const moved = await get(holdfast.port, "/on", `Cookie: route=${sid}`);
    assert.equal(moved.status, 200);
    assert.deepEqual(cookiesOf(moved), ["route=a; Path=/"]);
    const refused = await get(holdfast.port, "/off", `Cookie: route=${sid}`);
    assert.equal(refused.status, 502);
    assert.deepEqual(cookiesOf(refused), []);
  }
  assert.equal((await get(holdfast.port, "/off", "Cookie: route=a")).body, "a");
  assert.equal((await get(holdfast.port, "/off")).body, "a");
});

const REFUSED: readonly (readonly [lines: string, sentence: string])[] = [
  ["cookie=", "invalid cookie"],
  ["domain=", "invalid domain"],
  ["path=", "invalid path"],
  ["maxage=x", "invalid maxage"],
  ["maxidle=-1", "invalid maxidle"],
  ["maxlife=", "invalid maxlife"],
  ["mode=other", "invalid mode"],
  ["option=other", "invalid option"],
  ["fallback=maybe", "invalid fallback"],
  ["hash=sha1", "invalid hash mode"],
  ["session_sticky", "invalid argument"],
  ["x=1", "invalid argument"],
  ["; sticky cookie x", '"sticky" directive is incompatible with "session_sticky"'],
];

test("wrong parameters are refused in the module's words", async (t) => {
  const upstreams = REFUSED.map(([text], i) => `upstream u${i} { server 127.0.0.1:1; session_sticky ${text}; }`);
  const { code, stderr } = await runHoldfast(t, { config: `http {\n${upstreams.join("\n")}\n}`, args: ["-t"] });
  assert.equal(code, 1);
  for (const [i, [text, sentence]] of REFUSED.entries()) {
    assert.match(stderr, new RegExp(`\\] (\\d+#\\d+: )?${sentence} in .*conf:${i + 2}\n`), text);
  }
  const hide = "server { listen 127.0.0.1:1; session_sticky_hide_cookie upstream=nobody; }";
  const unknown = await runHoldfast(t, { config: `http { ${hide} }`, args: ["-t"] });
  assert.match(unknown.stderr, /host not found in upstream "nobody" in /);
});
