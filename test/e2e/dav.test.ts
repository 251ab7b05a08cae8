import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { describeSentences } from "../support/sentences.ts";
import { RawConnection, type RawResponse, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const FILES = { "dav/file": "content", "dav/dir/inner": "1", "dav/dir/sub/deep": "2" };

/** A directory on another file system than that of the tests. */
const OTHER = "/dev/shm";
const noOther =
  existsSync(OTHER) && statSync(OTHER).dev !== statSync(tmpdir()).dev ? false : `${OTHER} is no other file system`;

function config(server: string): (ports: readonly number[]) => string {
  return ([port]) =>
    `user root; worker_processes 1; http { log_format brief "$request $status"; dav_methods put delete mkcol copy move; client_max_body_size 0;
      server { listen 127.0.0.1:${port}; root dav; ${server} } }`;
}

function start(t: TestContext, server = ""): Promise<Running> {
  return startHoldfast(t, { files: FILES, config: config(server) });
}

function ask({ port }: Running, method: string, path: string, fields: readonly string[] = [], body = "") {
  const head = [`${method} ${path} HTTP/1.1`, "Host: localhost", "Connection: close", ...fields];
  if (body !== "" || method === "PUT") head.push(`Content-Length: ${body.length}`);
  return request(port, `${head.join("\r\n")}\r\n\r\n${body}`);
}

function put(holdfast: Running, path: string, body: string, ...fields: string[]): Promise<RawResponse> {
  return ask(holdfast, "PUT", path, fields, body);
}

test("PUT makes a file and replaces one, with Date as its time and dav_access as its mode", async (t) => {
  const holdfast = await start(
    t,
    "location /open/ { dav_access group:r all:r; create_full_put_path on; } location /off/ { dav_methods off; }",
  );
  const made = await put(holdfast, "/a%20b", "first");
  assert.equal(made.status, 201);
  assert.equal(made.header("location"), `http://localhost:${holdfast.port}/a%20b`);
  assert.equal(made.header("content-length"), "0");
  assert.equal(holdfast.read("dav/a b"), "first");
  assert.equal(statSync(join(holdfast.prefix, "dav/a b")).mode & 0o777, 0o600);

  const replaced = await put(holdfast, "/a%20b", "", "Date: Sun, 13 Sep 2020 12:26:40 GMT");
  assert.deepEqual([replaced.status, replaced.header("content-length"), replaced.body], [204, undefined, ""]);
  assert.equal(holdfast.read("dav/a b"), "");
  assert.equal(statSync(join(holdfast.prefix, "dav/a b")).mtimeMs, 1_600_000_000_000);

  assert.equal((await put(holdfast, "/open/x/y/file", "deep")).status, 201);
  assert.equal(statSync(join(holdfast.prefix, "dav/open/x/y/file")).mode & 0o777, 0o644);
  assert.equal(statSync(join(holdfast.prefix, "dav/open/x/y")).mode & 0o777, 0o755);

  const big = "0123456789".repeat(500_000);
  assert.equal((await put(holdfast, "/big", big)).status, 201);
  assert.equal(readFileSync(join(holdfast.prefix, "dav/big"), "latin1"), big);

  assert.equal((await put(holdfast, "/off/file", "x")).status, 405);
  assert.equal((await put(holdfast, "/missing/file", "x")).status, 500);
  assert.equal((await put(holdfast, "/dir", "x")).status, 409);
  assert.equal((await put(holdfast, "/dir/", "x")).status, 409);
  assert.equal((await put(holdfast, "/file", "x", "Content-Range: bytes 0-0/1")).status, 501);
  assert.equal((await put(holdfast, "/file/below", "x")).status, 500);
  await holdfast.waitForLog(/\[error\] \S+ \*\d+ cannot PUT to a collection, client: 127/);
  await holdfast.waitForLog(
    /\[error\] \S+ \*\d+ "[^"]+\/dav\/dir" could not be created \(21: Is a directory\), client/,
  );
  await holdfast.waitForLog(
    /\[crit\] .*rename\(\) "[^"]+\/client_body_temp\/\d{10}" to "[^"]+\/dav\/missing\/file" failed \(2: /,
  );
  await waitFor(() => readdirSync(join(holdfast.prefix, "client_body_temp")).length === 0, "no temporary file");
});

test("a PUT that is broken off leaves nothing", async (t) => {
  const holdfast = await start(t);
  const connection = await RawConnection.open(holdfast.port);
  connection.write("PUT /file HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
  const temporary = join(holdfast.prefix, "client_body_temp");
  await waitFor(() => readdirSync(temporary).length === 1, "the temporary file");
  connection.close();
  await waitFor(() => readdirSync(temporary).length === 0, "its end");
  assert.equal(holdfast.read("dav/file"), "content");
});

test("DELETE removes files and trees, and of a symbolic link the link", async (t) => {
  const holdfast = await start(t, "location /deep/ { min_delete_depth 3; }");
  const inside = (path: string) => join(holdfast.prefix, path);
  mkdirSync(inside("outside"));
  mkdirSync(inside("outside/kept"));
  symlinkSync("../../outside", inside("dav/dir/link"));
  mkdirSync(inside("dav/deep/one"), { recursive: true });

  assert.equal((await ask(holdfast, "DELETE", "/missing")).status, 404);
  assert.equal((await ask(holdfast, "DELETE", "/file/")).status, 409, "a file is no collection");
  assert.equal((await ask(holdfast, "DELETE", "/file", ["Depth: 1"])).status, 400);
  assert.equal((await ask(holdfast, "DELETE", "/file", ["Depth: x"])).status, 400);
  assert.equal((await ask(holdfast, "DELETE", "/file", [], "x")).status, 415);
  const removed = await ask(holdfast, "DELETE", "/file", ["Depth: 0"]);
  assert.deepEqual([removed.status, removed.body], [204, ""]);
  assert.ok(!existsSync(inside("dav/file")));

  assert.equal((await ask(holdfast, "DELETE", "/dir")).status, 409);
  assert.equal((await ask(holdfast, "DELETE", "/dir/", ["Depth: 0"])).status, 400);
  assert.equal((await ask(holdfast, "DELETE", "/dir/", ["Depth: infinity"])).status, 204);
  assert.ok(!existsSync(inside("dav/dir")));
  assert.ok(existsSync(inside("outside/kept")));

  assert.equal((await ask(holdfast, "DELETE", "/deep/one/")).status, 409);
  assert.equal((await put(holdfast, "/deep/one/two", "")).status, 201);
  assert.equal((await ask(holdfast, "DELETE", "/deep/one/two")).status, 204);
  await holdfast.waitForLog(/insufficient URI depth:3 to DELETE/);
  await holdfast.waitForLog(/client sent invalid "Depth" header: "x"/);
  await holdfast.waitForLog(/DELETE "[^"]+\/dav\/dir" failed \(21: Is a directory\)/);
});

/** All that is in a directory: what files hold, and `-> …` for links. */
function contents(directory: string, below = ""): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(join(directory, below), { withFileTypes: true })) {
    const path = join(below, entry.name);
    if (entry.isDirectory()) Object.assign(found, { [`${path}/`]: "" }, contents(directory, path));
    else if (entry.isSymbolicLink()) found[path] = `-> ${readlinkSync(join(directory, path))}`;
    else found[path] = readFileSync(join(directory, path), "latin1");
  }
  return found;
}

/** One after another: each finds what those before have left. */
const STEPS: readonly (readonly [method: string, path: string, ...fields: string[]])[] = [
  ["MKCOL", "/new/"],
  ["MKCOL", "/new/"],
  ["MKCOL", "/new"],
  ["MKCOL", "/none/new/"],
  ["MKCOL", "/file/new/"],
  ["MKCOL", "/other/", "Content-Length: 0"],
  ["COPY", "/file"],
  ["COPY", "/file", "Destination: rubbish"],
  ["COPY", "/file", "Destination: "],
  ["COPY", "/file", "Destination: /../file2"],
  ["COPY", "/file", "Destination: /a/%2e%2e/file2"],
  ["COPY", "/file", "Destination: /a%00b"],
  ["COPY", "/file", "Destination: http://elsewhere/file2"],
  ["COPY", "/file", "Destination: https://localhost/file2"],
  ["COPY", "/file", "Destination: http://localhost"],
  ["COPY", "/file", "Destination: http://localhost/copy%20one"],
  ["COPY", "/file", "Destination: http://localhost:1234/copy?a=b"],
  ["COPY", "/file", "Destination: /copy", "Overwrite: F"],
  ["COPY", "/file", "Destination: /copy", "Overwrite: f"],
  ["COPY", "/file", "Destination: /copy", "Overwrite: t"],
  ["COPY", "/file", "Destination: /copy", "Overwrite: maybe"],
  ["COPY", "/file", "Destination: /copy", "Depth: 0"],
  ["COPY", "/file", "Destination: /copy", "Depth: 1"],
  ["COPY", "/file", "Destination: /copy", "Depth: 2"],
  ["COPY", "/file", "Destination: /none/file"],
  ["COPY", "/file", "Destination: /file/below"],
  ["COPY", "/file", "Destination: /dir"],
  ["COPY", "/file", "Destination: /dir/"],
  ["COPY", "/file/", "Destination: /new/"],
  ["COPY", "/none", "Destination: /new/none"],
  ["COPY", "/dir", "Destination: /dir2"],
  ["COPY", "/dir/", "Destination: /dir2"],
  ["COPY", "/dir/", "Destination: /dir2/"],
  ["COPY", "/dir/", "Destination: /none/dir2/"],
  ["COPY", "/dir/sub/", "Destination: /dir2/", "Overwrite: F"],
  ["COPY", "/dir/sub/", "Destination: /dir2/"],
  ["COPY", "/dir/", "Destination: /copy/"],
  ["COPY", "/aliased/one", "Destination: /aliased/two"],
  ["COPY", "/aliased/one", "Destination: /a"],
  ["MOVE", "/copy%20one", "Destination: /moved"],
  ["MOVE", "/moved", "Destination: /made/on/the/way"],
  ["MOVE", "/made/on/the/way", "Destination: /file", "Depth: 0"],
  ["MOVE", "/made/on/the/way", "Destination: /file", "Depth: infinity"],
  ["MOVE", "/none", "Destination: /file"],
  ["MOVE", "/dir/", "Destination: /dir3/"],
  ["MOVE", "/dir3/", "Destination: /dir2/"],
  ["MOVE", "/dir2/", "Destination: /none/dir/"],
  ["MOVE", "/dir2/", "Destination: /file/dir/"],
  ["DELETE", "/none"],
  ["DELETE", "/none/"],
  ["DELETE", "/file/"],
  ["DELETE", "/dir2"],
  ["DELETE", "/dir2/", "Depth: 1"],
  ["DELETE", "/made/", "Depth: infinity"],
  ["DELETE", "/file", "Depth: infinity"],
];

const ALIASED = "location /aliased/ { alias dav/dir/sub/; }";

test("COPY, MOVE, MKCOL and DELETE answer and leave what nginx does", { skip: have("nginx") }, async (t) => {
  const files = { ...FILES, "dav/dir/sub/one": "3" };
  const holdfast = await startHoldfast(t, { files, config: config(ALIASED) });
  const nginx = await startNginx(t, { files, config: config(ALIASED) });
  for (const step of STEPS) {
    const [method, path, ...fields] = step;
    const answers: unknown[] = [];
    for (const running of [holdfast, nginx]) {
      const { status, headers, body } = await ask(running, method, path, fields);
      const known = headers.filter(([name]) => !["server", "date", "content-length"].includes(name));
      answers.push({
        status,
        headers: known.map(([name, value]) => [name, value.replace(String(running.port), "PORT")]),
        body: body.replace(/(nginx|holdfast)\/[\d.]+/g, "SERVER"),
        left: contents(join(running.prefix, "dav")),
      });
    }
    assert.deepEqual(answers[0], answers[1], step.join(" "));
  }
});

test("nothing is copied to itself, into itself or over what it is in", async (t) => {
  const holdfast = await start(t);
  const before = contents(join(holdfast.prefix, "dav"));
  for (const [path, destination] of [
    ["/file", "/file"],
    ["/file", "//file"],
    ["/dir/", "/dir/"],
    ["/dir/", "/dir/sub/"],
    ["/dir/sub/", "/dir/"],
    ["/dir/", "/"],
  ]) {
    for (const method of ["COPY", "MOVE"]) {
      const { status } = await ask(holdfast, method, path, [`Destination: ${destination}`]);
      assert.equal(status, 403, `${method} ${path} to ${destination}`);
    }
  }
  assert.deepEqual(contents(join(holdfast.prefix, "dav")), before);
  await holdfast.waitForLog(/both URI "\/file" and "Destination" URI "\/\/file" point to the same location, client/);
  await holdfast.waitForLog(/"\/dir\/sub\/" could not be MOVEed to collection "\/dir\/"/);
});

test("an alias is not left by a Destination that the location does not have", async (t) => {
  const holdfast = await start(t, ALIASED);
  const refused = await ask(holdfast, "COPY", "/aliased/deep", ["Destination: /aaaaaaaa../escaped"]);
  assert.equal(refused.status, 400);
  assert.deepEqual(Object.keys(contents(join(holdfast.prefix, "dav/dir"))), ["inner", "sub/", "sub/deep"]);
  await holdfast.waitForLog(/client sent invalid "Destination" header: "\/aaaaaaaa\.\.\/escaped"/);
});

test("symbolic links and other things in a tree are copied as what they are", async (t) => {
  const holdfast = await start(t);
  const dav = join(holdfast.prefix, "dav");
  symlinkSync(".", join(dav, "dir/circle"));
  symlinkSync("sub/deep", join(dav, "dir/link"));
  symlinkSync("dir/sub", join(dav, "into"));
  execFileSync("mkfifo", [join(dav, "dir/fifo"), join(dav, "fifo")]);
  assert.equal((await ask(holdfast, "COPY", "/dir/", ["Destination: /copy/"])).status, 201);
  const copied = { inner: "1", circle: "-> .", link: "-> sub/deep", "sub/": "", "sub/deep": "2" };
  assert.deepEqual(contents(join(dav, "copy")), copied);
  // A target within the source, by another name.
  assert.equal((await ask(holdfast, "COPY", "/dir/", ["Destination: /into/again/"])).status, 201);
  assert.deepEqual(contents(join(dav, "dir/sub/again")), copied);
  assert.equal((await ask(holdfast, "COPY", "/dir/link", ["Destination: /plain"])).status, 204);
  assert.equal(holdfast.read("dav/plain"), "2");
  assert.equal((await ask(holdfast, "COPY", "/fifo", ["Destination: /plain"])).status, 500);
  assert.equal(holdfast.read("dav/plain"), "2");
  await holdfast.waitForLog(/\[crit\] .*"[^"]+\/dav\/fifo" is not a regular file, client/);
  assert.equal((await ask(holdfast, "DELETE", "/dir/")).status, 204);
});

test("what is on another file system is copied: files, trees and the bodies of PUT", { skip: noOther }, async (t) => {
  const other = mkdtempSync(join(OTHER, "holdfast-test-"));
  t.after(() => rmSync(other, { recursive: true }));
  const holdfast = await start(t, "location /open/ { create_full_put_path on; }");
  const dav = join(holdfast.prefix, "dav");
  utimesSync(join(dav, "dir/sub/deep"), 1_600_000_000, 1_600_000_000);
  utimesSync(join(dav, "dir/sub"), 1_600_000_000, 1_600_000_000);
  symlinkSync(other, join(dav, "other"));
  symlinkSync(other, join(dav, "open"));
  assert.equal((await put(holdfast, "/other/put", "new")).status, 201);
  assert.equal((await put(holdfast, "/other/put", "newer")).status, 204);
  assert.equal((await put(holdfast, "/open/x/y", "below")).status, 201);
  assert.equal((await ask(holdfast, "MOVE", "/file", ["Destination: /other/moved"])).status, 204);
  assert.equal((await ask(holdfast, "MOVE", "/dir/", ["Destination: /other/dir/"])).status, 201);
  assert.equal(statSync(join(other, "dir/sub/deep")).mtimeMs, 1_600_000_000_000);
  assert.equal(statSync(join(other, "dir/sub")).mtimeMs, 1_600_000_000_000);
  assert.deepEqual(contents(dav), { other: `-> ${other}`, open: `-> ${other}` });
  assert.equal((await ask(holdfast, "MOVE", "/other/dir/", ["Destination: /back/"])).status, 201);
  assert.equal((await ask(holdfast, "COPY", "/back/sub/", ["Destination: /other/dir/"])).status, 201);
  assert.equal((await ask(holdfast, "MOVE", "/back/", ["Destination: /other/dir/", "Overwrite: T"])).status, 201);
  assert.deepEqual(contents(other), {
    ...{ put: "newer", "x/": "", "x/y": "below", moved: "content" },
    ...{ "dir/": "", "dir/inner": "1", "dir/sub/": "", "dir/sub/deep": "2" },
  });
});

test("a tree that cannot be copied whole leaves source and target as they were", async (t) => {
  const holdfast = await start(t);
  const dav = join(holdfast.prefix, "dav");
  // A path that is too long once the copy's name is in front of it.
  let at = join(dav, "dir");
  const name = "d".repeat(250);
  while (at.length + name.length < 4000) {
    at = join(at, name);
    mkdirSync(at);
  }
  while (at.length < 4000) {
    at = join(at, "d".repeat(20));
    mkdirSync(at);
  }
  writeFileSync(join(at, "x".repeat(4090 - at.length)), "");
  mkdirSync(join(dav, "a-longer-name"));
  writeFileSync(join(dav, "a-longer-name/old"), "old");
  assert.equal((await ask(holdfast, "COPY", "/dir/", ["Destination: /a-longer-name/"])).status, 500);
  assert.deepEqual(contents(join(dav, "a-longer-name")), { old: "old" });
  assert.deepEqual(readdirSync(dav).sort(), ["a-longer-name", "dir", "file"]);
  await holdfast.waitForLog(/\[error\] \S+ \*\d+ open\(\) "[^"]+\/dav\/\.\d{10}\/d+\//);
  assert.equal((await ask(holdfast, "DELETE", "/dir/")).status, 204);
});

test("a tree is copied and removed that has more levels than the worker descriptors", async (t) => {
  const holdfast = await startHoldfast(t, {
    files: FILES,
    config: (ports) => `worker_rlimit_nofile 100; ${config("")(ports)}`,
  });
  const levels = "d/".repeat(300);
  mkdirSync(join(holdfast.prefix, "dav/deep", levels), { recursive: true });
  writeFileSync(join(holdfast.prefix, "dav/deep", levels, "file"), "x");
  assert.equal((await ask(holdfast, "COPY", "/deep/", ["Destination: /copy/"])).status, 201);
  assert.equal(readFileSync(join(holdfast.prefix, "dav/copy", levels, "file"), "utf8"), "x");
  assert.equal((await ask(holdfast, "DELETE", "/deep/")).status, 204);
  assert.equal((await ask(holdfast, "DELETE", "/copy/")).status, 204);
  assert.deepEqual(readdirSync(join(holdfast.prefix, "dav")).sort(), ["dir", "file"]);
});

test("others are served while a tree is copied and removed", async (t) => {
  const holdfast = await start(t);
  for (let i = 0; i < 5; i++) {
    const directory = join(holdfast.prefix, `dav/dir/many${i}`);
    mkdirSync(directory);
    for (let j = 0; j < 100; j++) writeFileSync(join(directory, String(j)), "x");
  }
  for (const [method, ...fields] of [["COPY", "Destination: /copy/"], ["DELETE"]]) {
    let done = false;
    const answer = ask(holdfast, method, "/dir/", fields).then(({ status }) => {
      done = true;
      return status;
    });
    let served = 0;
    while (!done) {
      assert.equal((await ask(holdfast, "GET", "/file")).body, "content");
      served++;
    }
    assert.equal(await answer, method === "COPY" ? 201 : 204);
    assert.ok(served > 1, `${served} requests during ${method}`);
  }
  assert.equal(readdirSync(join(holdfast.prefix, "dav/copy/many4")).length, 100);
});

test("what was begun is ended although its client has gone, and the worker is to quit", async (t) => {
  const holdfast = await start(t, "access_log logs/access.log brief;");
  const directory = join(holdfast.prefix, "dav/dir/many");
  mkdirSync(directory);
  for (let i = 0; i < 500; i++) writeFileSync(join(directory, String(i)), "x");
  const client = await RawConnection.open(holdfast.port);
  client.write("COPY /dir/ HTTP/1.1\r\nHost: localhost\r\nDestination: /copy/\r\n\r\n");
  const dav = join(holdfast.prefix, "dav");
  await waitFor(() => readdirSync(dav).some((name) => name.startsWith(".") || name === "copy"), "the copy's beginning");
  client.socket.resetAndDestroy();
  assert.equal(await holdfast.stop("SIGQUIT"), 0);
  assert.equal(readdirSync(join(dav, "copy/many")).length, 500);
  assert.deepEqual(readdirSync(dav).sort(), ["copy", "dir", "file"]);
  assert.equal(holdfast.accessLog(), "COPY /dir/ HTTP/1.1 201\n");
});

describeSentences("dav", [
  ["a method that is none", "dav_methods put get;"],
  ["a method twice", "dav_methods put put;"],
  ["all methods", "dav_methods PUT delete; dav_methods mkcol copy move;"],
  ["access", "dav_access user:r group:rw all:r;"],
  ["access for nobody known", "dav_access others:r;"],
  ["access of a kind that is none", "dav_access group:rwx;"],
  ["access twice", "dav_access user:r; dav_access user:r;"],
  ["access four times", "dav_access user:r user:r user:r user:r;"],
  ["a depth that is no number", "min_delete_depth x;"],
  ["neither on nor off", "create_full_put_path yes;"],
]);
