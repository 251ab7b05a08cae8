import assert from "node:assert/strict";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { type CachedSite, cachedSite } from "../support/cached_site.ts";
import { startDaemon } from "../support/daemon.ts";
import { type Outcome, runTool } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { checkersOf } from "../support/processes.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** `holdfast cache …`, which asks at the control socket. */

function cache(holdfast: { readonly prefix: string }, ...words: readonly string[]): Promise<Outcome> {
  return runTool(holdfast, "cache", ...words);
}

function site(
  t: Parameters<typeof cachedSite>[0],
  options: Parameters<typeof cachedSite>[2] = {},
): Promise<CachedSite> {
  return cachedSite(
    t,
    (incoming, response, count) => {
      if (incoming.url?.startsWith("/tagged") === true) response.setHeader("Cache-Tag", "red, round");
      response.end(`answer ${count}`);
    },
    { location: "proxy_cache_valid 200 10m; proxy_cache_key $request_uri;", ...options },
  );
}

/** What comes back for bytes at a control socket. */
function raw(path: string, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let answer = "";
    socket.setEncoding("latin1").on("data", (text) => {
      answer += text;
    });
    socket.on("error", reject).on("close", () => resolve(answer));
    socket.write(bytes);
  });
}

test("keys are listed, shown and purged", async (t) => {
  const { holdfast, ask } = await site(t);
  for (const path of ["/a", "/a?x=\u001b", "/b/1", "/b/2", "/tagged"]) await ask(path.replace("\u001b", "%1b"));
  const listed = await cache(holdfast, "ls", "one");
  assert.equal(listed.stderr, "");
  assert.equal(listed.code, 0);
  const [heading, ...rows] = listed.stdout.trimEnd().split("\n");
  assert.match(heading, /^STATE +SIZE +AGE +LEFT +USES +KEY$/);
  assert.equal(rows.length, 5);
  for (const row of rows) assert.match(row, /^fresh +\d+ +\d+ +\d+ +1 {2}\//);
  const json = await cache(holdfast, "ls", "--json", "one", "/b/*");
  const keys = json.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line).key);
  assert.deepEqual(keys.sort(), ["/b/1", "/b/2"]);

  const shown = await cache(holdfast, "show", "one", "/tagged");
  assert.match(shown.stdout, /^key {5}\/tagged\nfile {4}.*\/cache\/.*\nstate {3}fresh, for \d+ s, until .*\nstored /);
  assert.match(shown.stdout, /\ntags {4}red round\n\nHTTP\/1.1 200 OK\nCache-Tag: red, round\n/);
  assert.match(
    (await cache(holdfast, "show", "one", "/x")).stderr,
    /^holdfast: there is no key "\/x" in cache "one"\n$/,
  );

  assert.equal((await cache(holdfast, "purge", "one", "/a")).stdout, "purged: /a\n");
  assert.equal((await cache(holdfast, "purge", "one", "/a")).code, 1);
  assert.equal((await cache(holdfast, "purge", "one", "/b/*")).code, 0);
  assert.equal((await cache(holdfast, "purge", "one", "--tag", "green", "round")).stdout, "purged: green round\n");
  for (const path of ["/a", "/b/1", "/b/2", "/tagged"]) assert.match(await ask(path), /^MISS/, path);
  assert.match(await ask("/a?x=%1b"), /^HIT/);
});

test("keys cannot write to the terminal, nor make up lines", async (t) => {
  const { holdfast, ask } = await site(t, { location: "proxy_cache_valid 200 10m; proxy_cache_key $uri;" });
  await ask("/a%0afresh%c2%9b2J%1b%7f");
  const key = String.raw`/a\x0afresh\xc2\x9b2J\x1b\x7f`;
  const [, row, ...more] = (await cache(holdfast, "ls", "one")).stdout.trimEnd().split("\n");
  assert.ok(row.endsWith(`  ${key}`), row);
  assert.deepEqual(more, []);
  const json = Buffer.from((await cache(holdfast, "ls", "--json", "one")).stdout, "latin1").toString();
  assert.doesNotMatch(json.trimEnd(), /\p{Cc}/u);
  assert.equal(JSON.parse(json).key, "/a\nfresh\xc2\x9b2J\x1b\x7f");
});

test("what is wrong is said in a sentence", async (t) => {
  const { holdfast } = await site(t);
  for (const [words, sentence] of [
    [["ls", "two"], 'there is no cache "two" (there are: one)'],
    [[], "cache: ls, show or purge?"],
    [["clear", "one"], 'cache: there is no "clear", but ls, show and purge'],
    [["ls"], "cache ls: which zone?"],
    [["purge", "one"], "cache purge: which key?"],
    [["purge", "one", "--tag"], "cache purge: which tag?"],
    [["show", "one", "/a", "/b"], 'cache show: what is "/b"?'],
  ] as const) {
    const { code, stdout, stderr } = await cache(holdfast, ...words);
    assert.deepEqual({ code, stdout, stderr }, { code: 1, stdout: "", stderr: `holdfast: ${sentence}\n` });
  }
  await holdfast.stop();
  const gone = await cache(holdfast, "ls", "one");
  assert.equal(gone.code, 1);
  assert.match(
    gone.stderr,
    /^holdfast: no master is running with this configuration and prefix \(-c, -p\): connect\(\) to unix:.*holdfast.sock failed \(2: No such file or directory\)\n$/,
  );
});

test("the socket is the master's user's alone, lasts over the checker's death and reloads, and goes with the master", async (t) => {
  const { holdfast, ask } = await site(t);
  await ask("/a");
  const path = join(holdfast.prefix, "logs/holdfast.sock");
  assert.equal(statSync(path).mode & 0o777, 0o600);
  for (const checker of checkersOf(holdfast.pid)) process.kill(checker, "SIGKILL");
  assert.match((await cache(holdfast, "ls", "one")).stdout, / \/a\n$/);
  assert.ok(await holdfast.reload());
  assert.match((await cache(holdfast, "ls", "one")).stdout, / \/a\n$/);
  const config = holdfast.read("conf/nginx.conf").replace("events {}", "");
  assert.ok(await holdfast.reload(`control_socket logs/other; ${config}`), holdfast.errorLog());
  assert.ok(!existsSync(path));
  assert.match((await cache(holdfast, "ls", "one")).stdout, / \/a\n$/);
  assert.ok(await holdfast.reload(`control_socket off; ${config}`));
  assert.equal((await cache(holdfast, "ls", "one")).stderr, 'holdfast: "control_socket" is off\n');
  assert.ok(await holdfast.reload(config));
  await holdfast.stop();
  assert.ok(!existsSync(path));
});

test("the file of a master that was killed is in nobody's way", async (t) => {
  const first = await site(t);
  await first.ask("/a");
  first.holdfast.signal("SIGKILL");
  await first.holdfast.exited;
  assert.ok(existsSync(join(first.holdfast.prefix, "logs/holdfast.sock")));
  assert.match((await cache(first.holdfast, "ls", "one")).stderr, /failed \(111: Connection refused\)/);
  const again = await first.start();
  assert.match((await cache(again, "ls", "one")).stdout, / \/a\n$/);
});

test("in an upgrade the new master has the socket, and the old one again when the new one has gone", async (t) => {
  const { address } = await httpBackend(t, (_incoming, response) => response.end("answer"));
  const port = await freePort();
  const daemon = await startDaemon(
    t,
    `user root; events {} error_log logs/error.log notice; http { proxy_cache_path cache keys_zone=one:1m;
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://${address}; proxy_cache one; proxy_cache_valid 1m;
        proxy_cache_key $uri; } } }`,
  );
  await get(port, "/a");
  const listed = async () => (await cache(daemon, "ls", "one")).stdout;
  const old = await daemon.startNewBinary();
  assert.match(await listed(), / \/a\n$/);
  await daemon.signal("SIGTERM", "the new master to leave", () => daemon.pid === old);
  await waitFor(async () => / \/a\n$/.test(await listed()), "the old master's socket");
  assert.equal(await daemon.startNewBinary(), old);
  await daemon.retire(old);
  assert.match(await listed(), / \/a\n$/);
});

test("hostile requests end their own connections only", async (t) => {
  const { holdfast, ask } = await site(t);
  await ask("/a");
  const path = join(holdfast.prefix, "logs/holdfast.sock");
  const errors = async (bytes: string) => JSON.parse(await raw(path, bytes)).error;
  assert.equal(await errors("GET / HTTP/1.1\r\n\r\n"), "the request is no JSON object");
  assert.equal(await errors("[]\n"), "the request is no JSON object");
  assert.equal(await errors('{"command": "__proto__"}\n'), "there is no such command");
  assert.equal(
    await errors('{"command": "cache ls", "zone": {}}\n'),
    'there is no cache "[object Object]" (there are: one)',
  );
  assert.equal(await errors('{"command": "cache show", "zone": "one", "key": 5}\n'), '"key" is no text');
  assert.equal(await errors('{"command": "cache purge", "zone": "one"}\n'), "a purge goes by a key or by tags");
  assert.equal(await errors("x".repeat(100_000)), "the request is too long");
  assert.match(await raw(path, '{"command": "cache ls", "zone": "one"}\n'), /"key":"\/a".*\n\{"done":true\}\n$/);
  // More than there is room for: the first ones are answered, others refused, and none hangs.
  const sockets = Array.from({ length: 40 }, () => connect(path).on("error", () => {}));
  await waitFor(async () => (await errors('{"command": "x"}\n').catch(() => "")) === "too many commands at a time");
  for (const socket of sockets) socket.destroy();
  await waitFor(async () => (await errors('{"command": "x"}\n').catch(() => "")) === "there is no such command");
  assert.match(await ask("/a"), /^HIT/);
  writeFileSync(join(holdfast.prefix, "cache/nonsense"), "no entry");
  assert.match((await cache(holdfast, "ls", "one")).stdout, / \/a\n$/);
});
