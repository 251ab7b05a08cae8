/** `keyval` and `keyval_zone`: values by keys in shared memory, changed at the terminal or with `set`. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { startDaemon } from "../support/daemon.ts";
import { type Outcome, type Running, runHoldfast, runTool, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { checkersOf, workersOf } from "../support/processes.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const ZONE = "keyval_zone zone=one:64k;";

function configOf(port: number, zones = ZONE, keyval = "keyval $arg_key $found zone=one;", server = ""): string {
  return `worker_processes 2; http { ${zones} ${keyval}
    server { listen ${port}; location / { return 200 "<$found>"; } ${server} } }`;
}

function start(t: TestContext, ...more: [zones?: string, keyval?: string, server?: string]): Promise<Running> {
  return startHoldfast(t, { config: ([port]) => configOf(port, ...more) });
}

function keyval(running: { readonly prefix: string }, ...words: readonly string[]): Promise<Outcome> {
  return runTool(running, "keyval", ...words);
}

async function done(running: { readonly prefix: string }, ...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await keyval(running, ...words);
  assert.deepEqual([code, stderr], [0, ""]);
  return Buffer.from(stdout, "latin1").toString();
}

/** What several requests find, whichever worker answers. */
async function found(port: number, key: string): Promise<string> {
  const bodies = new Set<string>();
  for (let i = 0; i < 6; i++) bodies.add((await get(port, `/?key=${key}`)).body);
  assert.equal(bodies.size, 1, [...bodies].join(" "));
  return [...bodies][0].slice(1, -1);
}

test("pairs are set, shown, listed and removed, and requests to any worker find them", async (t) => {
  const running = await start(t);
  const { port } = running;
  assert.equal(await found(port, "a"), "");
  assert.equal(await done(running, "set", "one", "a", "first value"), "set: a\n");
  assert.equal(await found(port, "a"), "first value");
  await done(running, "set", "one", "a", "second");
  assert.equal(await found(port, "a"), "second");
  assert.equal(await found(port, "A"), "");
  await done(running, "set", "--timeout=1h", "one", "b", "ü\x1b[1m");
  assert.equal(await done(running, "get", "one", "a"), "second\n");
  assert.match(await done(running, "ls", "one"), /^ +LEFT {2}KEY = VALUE\n( +(-|3600|35\d\d) {2}[ab] = .*\n){2}$/);
  const lines = (await done(running, "ls", "--json", "one"))
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  lines.sort((one, other) => (one.key < other.key ? -1 : 1));
  assert.deepEqual(
    [lines[0], lines[1].value, lines[1].left > 3_500_000],
    [{ key: "a", value: "second" }, "ü\x1b[1m", true],
  );
  assert.equal(await done(running, "del", "one", "a"), "removed: a\n");
  assert.equal(await found(port, "a"), "");
  assert.equal(await done(running, "clear", "one"), "cleared: one, 1 pairs\n");
  assert.equal(await found(port, "b"), "");
});

test("what cannot be done is said in a sentence", async (t) => {
  const running = await start(t, "keyval_zone zone=one:64k; keyval_zone zone=nets:64k type=ip;");
  const refused = async (sentence: RegExp, ...words: readonly string[]) => {
    const { code, stdout, stderr } = await keyval(running, ...words);
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, sentence);
  };
  await refused(/: there is no keyval zone "two" \(there are: one, nets\)\n$/, "ls", "two");
  await refused(/: there is no key "a" in keyval zone "one"\n$/, "get", "one", "a");
  await refused(/: there is no key "a" in keyval zone "one"\n$/, "del", "one", "a");
  await refused(/: a pair of keyval zone "one" needs a key that is not empty\n$/, "set", "one", "", "x");
  await refused(/: "x" is neither an address nor a network \(address\/bits\)/, "set", "nets", "x", "1");
  await done(running, "set", "one", "large", "v".repeat(40_000));
  await refused(/: keyval zone "one" is full: "big" was not set; /, "set", "one", "big", "v".repeat(40_000));
  await refused(/: keyval: ls, get, set, del or clear\?\n$/);
  await refused(/: keyval: there is no "put", but ls, get, set, del and clear\n$/, "put");
  await refused(/: keyval set: which value\?\n$/, "set", "one", "a");
  await refused(/: keyval set: "soon" is no time\n$/, "set", "--timeout=soon", "one", "a", "b");
  await refused(
    /: keyval set: "--timeout" needs its time: --timeout=10m\n$/,
    "set",
    "--timeout",
    "10m",
    "one",
    "a",
    "b",
  );
  await refused(/: keyval get: what is "b"\?\n$/, "get", "one", "a", "b");
});

test("addresses find their network, and texts their longest prefix", async (t) => {
  const running = await start(
    t,
    "keyval_zone zone=nets:64k type=ip; keyval_zone zone=paths:64k type=prefix;",
    "keyval $arg_key $found zone=nets; keyval $uri $path zone=paths; keyval $remote_addr $me zone=nets;",
    "location /p { return 200 $path; } location /me { return 200 $me; }",
  );
  for (const net of ["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "127.0.0.1"])
    await done(running, "set", "nets", net, net);
  assert.equal(await found(running.port, "10.1.2.3"), "10.1.0.0/16");
  assert.equal(await found(running.port, "10.1.2.0/24"), "10.1.0.0/16");
  assert.equal(await found(running.port, "10.2.2.3"), "10.0.0.0/8");
  assert.equal(await found(running.port, "2001:DB8::7"), "2001:db8::/32");
  assert.equal(await found(running.port, "nonsense"), "");
  assert.equal((await get(running.port, "/me")).body, "127.0.0.1");
  assert.equal(await done(running, "get", "nets", "10.9.9.9/8"), "10.0.0.0/8\n");
  await done(running, "set", "paths", "/p/", "short");
  await done(running, "set", "paths", "/p/q", "long");
  assert.deepEqual(
    [(await get(running.port, "/p/x")).body, (await get(running.port, "/p/qx")).body],
    ["short", "long"],
  );
});

test("a key may have several variables and text, and set changes the pair of a request's key", async (t) => {
  const running = await start(
    t,
    ZONE,
    "keyval user:$arg_key@$host $found zone=one;",
    "location /set { set $found $arg_value; return 200 $found; }",
  );
  assert.equal((await get(running.port, "/set?key=a&value=v1")).body, "v1");
  assert.equal(await found(running.port, "a"), "v1");
  const [line] = (await done(running, "ls", "--json", "one")).split("\n");
  assert.deepEqual(JSON.parse(line), { key: "user:a@localhost", value: "v1" });
  const body = (await get(running.port, `/set?key=${"k".repeat(3000)}&value=${"x".repeat(3000)}`)).body;
  assert.equal(body.length, 3000);
  // Until there is no room, which is logged and changes nothing.
  for (let i = 0; i < 30; i++) await get(running.port, `/set?key=${i}&value=${"v".repeat(4000)}`);
  await waitFor(
    () =>
      /\[error\] .*keyval zone "one" is full: "user:\d+@localhost" was not set; remove pairs/.test(running.errorLog()),
    "a line of it",
  );
  assert.equal(await found(running.port, "a"), "v1");
});

test("pairs end: with their zone's timeout, or their own", async (t) => {
  const running = await start(t, "keyval_zone zone=one:64k timeout=300ms;");
  await done(running, "set", "one", "a", "short");
  await done(running, "set", "--timeout=1h", "one", "b", "long");
  await waitFor(async () => (await get(running.port, "/?key=a")).body === "<>", "the end of a pair");
  assert.equal(await found(running.port, "b"), "long");
  assert.match(await done(running, "ls", "--json", "one"), /^\{"key":"b",.*\}\n$/);
});

test("pairs outlive a reload, also with another size, and are refused another type", async (t) => {
  const running = await start(t);
  const { port } = running;
  for (let i = 0; i < 3; i++) await done(running, "set", "one", `k${i}`, `v${i}`);
  assert.equal(await running.reload(), true);
  assert.equal(await found(port, "k2"), "v2");
  assert.equal(await running.reload(configOf(port, "keyval_zone zone=one:256k;")), true);
  assert.deepEqual([await found(port, "k0"), await found(port, "k2")], ["v0", "v2"]);
  await done(running, "set", "one", "k0", "new");
  assert.equal(await found(port, "k0"), "new");
  assert.equal(await running.reload(configOf(port, "keyval_zone zone=one:256k type=prefix;")), false);
  assert.match(running.errorLog(), /keyval_zone "one" has type "prefix" while previously it had type "string"/);
  assert.doesNotMatch(running.errorLog(), /unknown "found" variable/);
  // A zone that was away begins anew.
  assert.equal(
    await running.reload(configOf(port, "keyval_zone zone=other:64k;", "keyval $arg_key $found zone=other;")),
    true,
  );
  assert.equal(await running.reload(configOf(port)), true);
  assert.equal(await found(port, "k0"), "");
});

test("with state they outlive a restart, byte for byte, and killed processes", async (t) => {
  const config = (port: number) => configOf(port, "keyval_zone zone=one:64k state=kept/one.json timeout=1h;");
  const running = await startHoldfast(t, { config: ([port]) => config(port) });
  const odd = '\\"\t/ü\u{1f600}';
  await done(running, "set", "one", "a", odd);
  await done(running, "set", "one", "__proto__", "x");
  await get(running.port, "/");
  const file = join(running.prefix, "kept/one.json");
  await waitFor(() => existsSync(file) && readFileSync(file, "utf8").includes("__proto__"), "the file");
  assert.equal(JSON.parse(readFileSync(file, "utf8")).a.value, odd);
  const [checker] = checkersOf(running.pid);
  process.kill(checker, "SIGKILL");
  for (const worker of workersOf(running.pid)) process.kill(worker, "SIGKILL");
  await waitFor(
    () => checkersOf(running.pid).some((pid) => pid !== checker) && workersOf(running.pid).length === 2,
    "others",
  );
  await waitFor(async () => (await keyval(running, "set", "one", "b", "last")).code === 0, "the checker");
  assert.equal(await running.stop("SIGQUIT"), 0);
  const again = await startHoldfast(t, { config: config(running.port), prefix: running.prefix });
  assert.equal(JSON.parse(await done(again, "get", "--json", "one", "a")).value, odd);
  assert.deepEqual([await found(running.port, "b"), await found(running.port, "__proto__")], ["last", "x"]);
  assert.match(again.errorLog(), /3 pairs of keyval zone "one" were read from/);
  assert.ok(JSON.parse((await done(again, "get", "--json", "one", "b")).trim()).left <= 3_600_000);
});

test("a state file written by hand is read, and one that is none is neither used nor lost", async (t) => {
  const state = (text: string) => ({ "one.json": text });
  const config = "http { keyval_zone zone=one:64k state=one.json; server { listen 127.0.0.1:1; } }";
  const refused = async (text: string, why: RegExp) => {
    const { code, stderr } = await runHoldfast(t, { config, files: state(text), args: ["-t"] });
    assert.equal(code, 1);
    assert.match(stderr, /\[emerg\] the state file ".*one\.json" of keyval_zone "one" cannot be used: /);
    assert.match(stderr, why);
    assert.match(stderr, / in .*nginx\.conf:1\n/);
  };
  await refused('{"a": ', /it is no JSON/);
  await refused('["a"]', /it is no JSON object/);
  await refused('{"a": {"x": 1}}', /"a" has neither text nor an object with "value"/);
  await refused('{"": "x"}', /"" is no key of type=string/);
  const running = await startHoldfast(t, {
    config: ([port]) => configOf(port, "keyval_zone zone=one:64k state=one.json;"),
    files: state(
      '{"a": "plain", "n": 7, "e": {"value": "\\u00e9\\ud83d\\ude00", "expire": 3600000}, "\\\\u0041": "x", "old": {"value": "x", "expires": 5}}',
    ),
  });
  assert.deepEqual([await found(running.port, "a"), await found(running.port, "n")], ["plain", "7"]);
  assert.equal(JSON.parse(await done(running, "get", "--json", "one", "e")).value, "é\u{1f600}");
  assert.equal(await done(running, "get", "one", "\\u0041"), "x\n");
  assert.equal((await keyval(running, "get", "one", "old")).code, 1);
});

test("where the state cannot be written, the log says so, and pairs are there all the same", async (t) => {
  const running = await start(t, "keyval_zone zone=one:64k state=/proc/one.json;");
  await waitFor(() => running.errorLog().includes("[error]"), "a line of it");
  assert.match(
    running.errorLog(),
    /the pairs of keyval zone "one" were not written to "\/proc\/one\.json": \(\d+: .*\)/,
  );
  await done(running, "set", "one", "a", "here");
  assert.equal(await found(running.port, "a"), "here");
});

test("an upgrade keeps them", async (t) => {
  const port = await freePort();
  const daemon = await startDaemon(t, `events {} ${configOf(port)}`);
  await done(daemon, "set", "one", "a", "kept");
  const old = daemon.pid;
  await daemon.startNewBinary();
  await daemon.retire(old);
  assert.equal(await found(port, "a"), "kept");
  await done(daemon, "set", "one", "a", "changed");
  assert.equal(await found(port, "a"), "changed");
});

test("errors of the directives", async (t) => {
  const refused = async (http: string, sentence: string) => {
    const { code, stderr } = await runHoldfast(t, {
      config: `http { ${http} server { listen 127.0.0.1:1; } }`,
      args: ["-t"],
    });
    assert.equal(code, 1, http);
    assert.ok(stderr.includes(`[emerg] ${sentence} in `), `${http}: ${stderr}`);
  };
  await refused("keyval_zone state=x;", '"keyval_zone" must have "zone" parameter');
  await refused("keyval_zone zone=one;", 'invalid zone size "zone=one"');
  await refused("keyval_zone zone=:64k;", 'invalid zone name "zone=:64k"');
  await refused("keyval_zone zone=one:1k;", 'zone "zone=one:1k" is too small');
  await refused("keyval_zone zone=one:64k type=x;", 'invalid type "type=x"');
  await refused("keyval_zone zone=one:64k timeout=0;", 'invalid timeout "timeout=0"');
  await refused("keyval_zone zone=one:64k state=;", 'invalid state "state="');
  await refused("keyval_zone zone=one:64k x;", 'invalid parameter "x"');
  await refused("keyval_zone zone=one:64k sync;", '"sync" requires the "timeout" parameter in "keyval_zone"');
  await refused("keyval_zone zone=one:64k; keyval_zone zone=one:64k;", 'keyval_zone "one" is already defined');
  await refused(
    "keyval_zone zone=one:64k state=a; keyval_zone zone=two:64k state=a;",
    'the state file "a" is already that of keyval_zone "one"',
  );
  await refused(
    "limit_req_zone $uri zone=one:64k rate=1r/s; keyval_zone zone=one:64k;",
    'the shared memory zone "one" is already declared for a different use',
  );
  await refused("keyval $uri x zone=one;", 'invalid variable name "x"');
  await refused("keyval $uri $x one;", 'invalid parameter "one"');
  await refused("keyval_zone zone=one:64k; keyval $nothing $x zone=one;", 'unknown "nothing" variable');
  const { stderr } = await runHoldfast(t, {
    config: "http { keyval $uri $x zone=none; server { listen 127.0.0.1:1; } }",
    args: ["-t"],
  });
  assert.match(stderr, /\[emerg\] zero size shared memory zone "none"/);
});
