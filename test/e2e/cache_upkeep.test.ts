import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { cachedSite } from "../support/cached_site.ts";
import { makePrefix } from "../support/holdfast.ts";
import { checkersOf, workersOf } from "../support/processes.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** What keeps a cache's directory: manager, loader, and the look at files before they are served. */

const LOCATION = "proxy_cache_valid 200 1m; proxy_cache_key $uri;";
/** md5 of "/a" */
const FILE_OF_A = "cache/5/bf/0639767f3e9eaad729b54037a7e2abf5";

function counted(_incoming: IncomingMessage, response: ServerResponse, count: number): void {
  response.end(`answer ${count}`);
}

/** A body whose every byte counts. */
function long(count: number, length = 300_000): string {
  return `${count} `.repeat(length).slice(0, length);
}

test("a restart finds what was kept, at once and once it has looked through the directory", async (t) => {
  const first = await cachedSite(t, counted, { location: LOCATION });
  for (const path of ["/a", "/b", "/c"]) assert.match(await first.ask(path), /^MISS/);
  await first.holdfast.stop();
  const { prefix } = first.holdfast;
  const path = "loader_files=1 loader_sleep=1s";
  const second = await cachedSite(t, counted, { location: LOCATION, prefix, path });
  for (const path of ["/a", "/b", "/c"]) assert.match(await second.ask(path), /^HIT/);
  assert.deepEqual(second.asked, []);
  await second.holdfast.stop();
  const before = second.holdfast.errorLog().length;
  const third = await cachedSite(t, counted, { location: LOCATION, prefix });
  await waitFor(
    () =>
      /\[notice\] [^\n]*: http file cache: [^\n]*\/cache 0\.012M, bsize: 4096\n/.exec(
        third.holdfast.errorLog().slice(before),
      ),
    "the loader's end",
  );
  for (const path of ["/a", "/b", "/c"]) assert.match(await third.ask(path), /^HIT/);
  assert.match(await third.ask("/d"), /^MISS/);
});

test("the loader removes what is no cache file, and nothing outside", async (t) => {
  const first = await cachedSite(t, counted, { location: LOCATION });
  await first.ask("/a");
  await first.holdfast.stop();
  const { prefix } = first.holdfast;
  const at = (name: string): string => join(prefix, name);
  mkdirSync(at("outside"));
  const kept = ["outside/file", "cache/xy/file", "cache/5/bf/more/file", `cache/5/bf/${"0".repeat(32)}.0123456789`];
  const removed = [
    "cache/file",
    "cache/5/file",
    `cache/5/bf/${"0".repeat(32)}`,
    "cache/5/bf/0639767f3e9eaad729b54037a7e2abf5x",
  ];
  for (const name of [...kept, ...removed]) {
    mkdirSync(at(name.slice(0, name.lastIndexOf("/"))), { recursive: true });
    writeFileSync(at(name), "x".repeat(1000));
  }
  symlinkSync(at("outside"), at("cache/6"));
  symlinkSync(at("outside/file"), at("cache/5/bf/link"));
  // A file that is too small.
  mkdirSync(at("cache/0/00"), { recursive: true });
  writeFileSync(at(`cache/0/00/${"0".repeat(32)}`), "short");
  const { holdfast, ask } = await cachedSite(t, counted, { location: LOCATION, prefix });
  await holdfast.waitForLog(/\[warn\] [^\n]*: cache "[^\n]*\/cache": symbolic links are not followed \(2 found\)\n/);
  await holdfast.waitForLog(/\[crit\] [^\n]*: cache file "[^\n]*\/0\/00\/0{32}" is too small\n/);
  for (const name of [...kept, "cache/5/bf/link"]) assert.ok(existsSync(at(name)), name);
  for (const name of [...removed, `cache/0/00/${"0".repeat(32)}`]) assert.ok(!existsSync(at(name)), name);
  assert.match(await ask("/a"), /^HIT/);
});

test("what is not used for as long as `inactive` says is removed", async (t) => {
  const { ask, files } = await cachedSite(t, counted, { location: LOCATION, path: "inactive=1s" });
  await ask("/a");
  await waitFor(() => files().length === 1, "the file");
  await waitFor(() => files().length === 0, "the file to be removed");
  assert.match(await ask("/a"), /^MISS answer 2/);
});

test("the oldest give way where max_size is exceeded; who has one open is sent all of it", async (t) => {
  const body = "x".repeat(6_000_000);
  const { ask, asked, files, holdfast } = await cachedSite(
    t,
    ({ url }, response) => response.end(url === "/open" ? body : "x".repeat(10_000)),
    { location: `${LOCATION} proxy_max_temp_file_size 0;`, path: "max_size=8m manager_sleep=5ms" },
  );
  await ask("/open");
  // It gives way while it is being sent.
  const slow = await RawConnection.open(holdfast.port);
  slow.socket.pause();
  slow.write("GET /open HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  for (let i = 0; i < 400; i++) await ask(`/${i}`);
  const size = (): number =>
    files().reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0), 0);
  await waitFor(
    () => size() <= 8 * 2 ** 20,
    () => `no more than max_size; there are ${size()} bytes`,
  );
  assert.match(await ask("/399"), /^HIT/);
  assert.ok(!files().some((file) => (statSync(file, { throwIfNoEntry: false })?.size ?? 0) > body.length));
  slow.socket.resume();
  const received = await slow.until((text) => text.includes("\r\n\r\n") && text.length > body.length);
  assert.ok(received.endsWith(body.slice(-1000)));
  assert.ok(asked.length > 400);
  slow.close();
});

test("in a full zone the oldest entries give way, and no request is refused", async (t) => {
  const { ask, files, holdfast } = await cachedSite(t, counted, { location: LOCATION, zone: "32k", workers: 1 });
  for (let i = 0; i < 600; i++) assert.match(await ask(`/${i}`), /^MISS answer/);
  assert.match(await ask("/599"), /^HIT/);
  assert.match(await ask("/0"), /^MISS/);
  await waitFor(() => files().length < 300, "files to be removed");
  assert.doesNotMatch(holdfast.errorLog(), /\[(alert|crit|error)\]/);
});

for (const [kind, length] of [
  ["small", 1000],
  ["large", 300_000],
] as const) {
  test(`a ${kind} body that was altered is never served; a file that was only touched is`, async (t) => {
    const { ask, holdfast } = await cachedSite(t, (_incoming, response, count) => response.end(long(count, length)), {
      location: LOCATION,
      path: "memory=0",
    });
    assert.equal(await ask("/a"), `MISS ${long(1, length)}`);
    const file = join(holdfast.prefix, FILE_OF_A);
    // The last of a long body may still be written when the client has all of it.
    await waitFor(() => existsSync(file), "the file");
    utimesSync(file, 1, 1);
    for (let i = 0; i < 2; i++) assert.equal(await ask("/a"), `HIT ${long(1, length)}`);
    const bytes = readFileSync(file);
    bytes[bytes.length - 7] ^= 1;
    writeFileSync(file, bytes);
    const answers = await Promise.all(Array.from({ length: 5 }, () => ask("/a")));
    for (const answer of answers) assert.match(answer, /^(MISS|HIT) ([2-9]) \2 \2/);
    await holdfast.waitForLog(/\[crit\] [^\n]*: \*\d+ cache file "[^\n]*" has a body with a wrong checksum, client: /);
    assert.match(await ask("/a"), /^HIT/);
  });
}

test("an altered head, another version, and another key's file are misses", async (t) => {
  const { ask, holdfast } = await cachedSite(t, counted, { location: LOCATION, path: "memory=0" });
  const file = join(holdfast.prefix, FILE_OF_A);
  await ask("/a");
  await ask("/b");
  const alterations: readonly (readonly [RegExp, (bytes: Buffer) => Buffer])[] = [
    [/has a wrong checksum/, (bytes) => bytes.fill("9", 60, 61)],
    [/version mismatch/, (bytes) => bytes.fill(99, 3, 4)],
    [/is too small/, () => Buffer.from("x")],
    [/has md5 collision/, () => readFileSync(join(holdfast.prefix, FILE_OF_B))],
  ];
  for (const [sentence, alter] of alterations) {
    assert.match(await ask("/a"), /^HIT/);
    writeFileSync(file, alter(readFileSync(file)));
    assert.match(await ask("/a"), /^MISS/);
    await holdfast.waitForLog(sentence);
  }
});

/** md5 of "/b" */
const FILE_OF_B = "cache/3/74/97aa0bb188b55dc66927a8de59418743";

test("a worker that is killed while it fills an entry leaves no file and no lock", async (t) => {
  const { ask, files, holdfast } = await cachedSite(
    t,
    ({ url }, response, count) => {
      if (url === "/a" && count === 1) response.write("x".repeat(500_000));
      else response.end(`answer ${count}`);
    },
    { location: `${LOCATION} proxy_cache_lock on; proxy_cache_lock_timeout 1m; proxy_cache_lock_age 1m;`, workers: 1 },
  );
  const first = ask("/a").catch(() => "");
  await waitFor(() => files().length === 1, "the temporary file");
  for (const pid of workersOf(holdfast.pid)) process.kill(pid, "SIGKILL");
  await first;
  await waitFor(
    () =>
      ask("/a").then(
        (answer) => answer === "MISS answer 2",
        () => false,
      ),
    "the next worker's answer",
  );
  await waitFor(
    () => files().length === 1,
    () => `one file, of ${files()}`,
  );
  assert.equal(await ask("/a"), "HIT answer 2");
});

test("what other processes left is removed, also where their ids are in use again; what lives is kept", async (t) => {
  const prefix = makePrefix(t);
  const begin = (pid: number): string =>
    readFileSync(`/proc/${pid}/stat`, "latin1")
      .replace(/^.*\) /s, "")
      .split(" ")[19];
  const here = statSync("/proc/self/ns/pid").ino;
  const at = (name: string): string => join(prefix, "cache/.temp", name);
  const live = `${process.pid}-${begin(process.pid)}-${here}`;
  // Of a process before this one with its id; of one that has none; of another container.
  const [reused, dead] = [`${process.pid}-1-${here}`, `99999999-1-${here}`];
  const [foreign, abandoned] = [`${process.pid}-1-${here + 1}`, `1-1-${here + 1}`];
  for (const name of [live, reused, dead, foreign, abandoned, "99999998"]) {
    mkdirSync(at(name), { recursive: true });
    writeFileSync(join(at(name), "0000000001"), "left");
  }
  const longAgo = Date.now() / 1000 - 7200;
  utimesSync(at(abandoned), longAgo, longAgo);
  await cachedSite(t, counted, { location: LOCATION, prefix });
  await waitFor(
    () => [reused, dead, abandoned, "99999998"].every((name) => !existsSync(at(name))),
    "what the dead have left to go",
  );
  for (const name of [live, foreign]) assert.ok(existsSync(join(at(name), "0000000001")));
});

test("a reload leaves the loader at its work, and a checker that is killed is followed by one that loads", async (t) => {
  const first = await cachedSite(t, counted, { location: LOCATION });
  for (let i = 0; i < 20; i++) await first.ask(`/${i}`);
  await first.holdfast.stop();
  const { prefix } = first.holdfast;
  const loading = /http file cache: /g;
  const before = first.holdfast.errorLog().match(loading)?.length ?? 0;
  const path = "loader_files=1 loader_sleep=20ms";
  const { holdfast, ask } = await cachedSite(t, counted, { location: LOCATION, prefix, path });
  assert.ok(await holdfast.reload());
  for (const pid of checkersOf(holdfast.pid)) process.kill(pid, "SIGKILL");
  const ends = (): number => (holdfast.errorLog().match(loading)?.length ?? 0) - before;
  await waitFor(() => ends() > 0, "the loader's end");
  assert.ok(await holdfast.reload());
  assert.match(await ask("/19"), /^HIT/);
  assert.equal(ends(), 1);
});
