import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, lutimesSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { essenceOf } from "../support/essence.ts";
import { have } from "../support/have.ts";
import { makePrefix, startHoldfast, startNginx } from "../support/holdfast.ts";
import { get, RawConnection, request } from "../support/tcp.ts";

const config =
  (root: string) =>
  ([port]: readonly number[]): string =>
    `http { access_log off; autoindex on; server { listen 127.0.0.1:${port};
      location /exact/ { alias ${root}/; }
      location /scaled/ { alias ${root}/; autoindex_exact_size off; }
      location /local/ { alias ${root}/; autoindex_localtime on; }
      location /utf8/ { alias ${root}/; charset UTF-8; }
      location /json/ { alias ${root}/; autoindex_format json; }
      location /jsonp/ { alias ${root}/; autoindex_format jsonp; }
      location /xml/ { alias ${root}/; autoindex_format xml; }
      location /off/ { alias ${root}/; autoindex off; }
    } }`;

const F = "\xd1\x84";
const NAMES = [
  "plain.txt",
  "Upper",
  "a:colon",
  "percent-%-#-?-&-+-;",
  "quote-\"-'",
  "<html>&amp;",
  "space here",
  "control-\x01\n\t\b\f\r\x1f\x7f-back\\slash",
  `long-${"0".repeat(44)}`,
  `long-${"0".repeat(45)}`,
  `long-${"0".repeat(46)}`,
  `long-${">".repeat(50)}`,
  `utf8-${F.repeat(3)}`,
  `utf8-${F.repeat(45)}`,
  `utf8-${F.repeat(46)}`,
  `utf8-<>-${F.repeat(45)}`,
  `utf8-${F}-${">".repeat(45)}`,
  "invalid-\xff\xd1",
  `invalid-${"\xd1".repeat(60)}x`,
  "lenient-\xc3\xc3\xc3",
  `lenient-${"\xc3\xc3".repeat(50)}`,
  "\xe2\x82\xac\xf0\x9f\x98\x80",
];
const SIZES = [0, 9999, 10_000, 10_239, 10_240, 1_048_575, 1_048_576, 1_572_863, 1_572_864];

/** Makes a directory with all kinds of names, sizes and times in it. */
function fill(directory: string): void {
  const at = (name: string): Buffer => Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(name, "latin1")]);
  let time = 1_600_000_000;
  const age = (name: string): void => {
    time += 86_399;
    lutimesSync(at(name), time, time);
  };
  const add = (name: string, size: number): void => {
    writeFileSync(at(name), Buffer.alloc(size));
    age(name);
  };
  mkdirSync(directory);
  for (const name of NAMES) add(name, name.length);
  for (const size of SIZES) add(`size-${size}`, size);
  add(".hidden", 1);
  add("old", 1);
  execFileSync("touch", ["-d", "@-1000", `${directory}/old`]);
  for (const name of ["directory", "A <directory>", `long-${"d".repeat(43)}`, `long-${"d".repeat(45)}`]) {
    mkdirSync(at(name));
    age(name);
  }
  const links = {
    "link to directory": "directory",
    "link to file": "plain.txt",
    "link to nothing": "none",
    loop: "loop",
  };
  for (const [name, target] of Object.entries(links)) {
    symlinkSync(target, at(name));
    age(name);
  }
}

test("listings are nginx's, byte for byte", { skip: have("nginx") }, async (t) => {
  const root = join(makePrefix(t), "listed");
  fill(root);
  // In whose time zone `autoindex_localtime` shows something else than without.
  process.env.TZ = "Asia/Kolkata";
  const options = { config: config(root) };
  const holdfast = await startHoldfast(t, options);
  const nginx = await startNginx(t, options);
  const lines = (await get(holdfast.port, "/exact/")).body.split("\r\n");
  assert.ok(lines.length > NAMES.length + SIZES.length);
  for (const path of [
    "/exact/",
    "/scaled/",
    "/local/",
    "/utf8/",
    "/json/",
    "/jsonp/",
    "/jsonp/?callback=list.of_1",
    "/jsonp/?callback=",
    "/jsonp/?callback=alert(1)",
    `/jsonp/?callback=${"c".repeat(128)}`,
    `/jsonp/?callback=${"c".repeat(129)}`,
    "/xml/",
    "/off/",
    "/exact/directory/",
    "/json/directory/",
    "/jsonp/directory/?callback=c",
    "/xml/directory/",
    "/exact/A%20%3Cdirectory%3E/",
    "/exact/link%20to%20directory/",
    "/exact/plain.txt/",
    "/exact/loop/",
    "/exact/none/",
  ]) {
    assert.deepEqual(essenceOf(await get(holdfast.port, path)), essenceOf(await get(nginx.port, path)), path);
    const head = `HEAD ${path} HTTP/1.0\r\n\r\n`;
    assert.deepEqual(essenceOf(await request(holdfast.port, head)), essenceOf(await request(nginx.port, head)), path);
  }
  const post = "POST /exact/ HTTP/1.0\r\nContent-Length: 1\r\n\r\nx";
  assert.equal((await request(holdfast.port, post)).status, (await request(nginx.port, post)).status);
});

test("a directory that cannot be read is refused, and a file that cannot be looked at left out", async (t) => {
  const root = join(makePrefix(t), "listed");
  mkdirSync(join(root, "forbidden"), { recursive: true });
  mkdirSync(join(root, "some"));
  chmodSync(join(root, "forbidden"), 0o000);
  symlinkSync("../forbidden/file", join(root, "some/link"));
  const holdfast = await startHoldfast(t, { config: config(root) });
  assert.equal((await get(holdfast.port, "/exact/forbidden/")).status, 403);
  const { status, body } = await get(holdfast.port, "/json/some/");
  assert.deepEqual([status, body], [200, "[\r\n]"]);
  await holdfast.waitForLog(
    /\[crit\] [^\n]+: \*2 stat\(\) "[^"]+\/some\/link" failed \(13: Permission denied\), client: /,
  );
  assert.equal((await get(holdfast.port, `/exact/${"n".repeat(300)}/`)).status, 404);
});

test("files that are removed while their directory is read do not break its listing off", async (t) => {
  const root = join(makePrefix(t), "listed");
  mkdirSync(join(root, "dir"), { recursive: true });
  const holdfast = await startHoldfast(t, { config: config(root) });
  const client = await RawConnection.open(holdfast.port);
  for (let round = 0; round < 3; round++) {
    const names = Array.from({ length: 400 }, (_, i) => join(root, "dir", `${i}`));
    for (const name of names) writeFileSync(name, "");
    client.write("GET /json/dir/ HTTP/1.1\r\nHost: x\r\n\r\n");
    for (const name of names) await rm(name);
    assert.ok(Array.isArray(JSON.parse((await client.readResponse()).body)));
  }
  client.close();
});

test("a directory of many entries is sorted whole, and sent as slowly as the client takes it", async (t) => {
  const root = join(makePrefix(t), "listed");
  mkdirSync(join(root, "many"), { recursive: true });
  const names = Array.from({ length: 3000 }, (_, i) => `${(i * 7919) % 3000}${"-".repeat(200)}`);
  for (const name of names) writeFileSync(join(root, "many", name), "");
  const holdfast = await startHoldfast(t, { config: config(root) });
  const gone = await RawConnection.open(holdfast.port);
  gone.write("GET /json/many/ HTTP/1.0\r\n\r\n");
  const slow = await RawConnection.open(holdfast.port);
  slow.socket.pause();
  slow.write("GET /json/many/ HTTP/1.0\r\n\r\n");
  gone.close();
  assert.equal((await get(holdfast.port, "/json/none/")).status, 404);
  slow.socket.resume();
  const listed: { name: string }[] = JSON.parse((await slow.readResponse()).body);
  slow.close();
  assert.deepEqual(
    listed.map(({ name }) => name),
    names.sort(),
  );
  assert.doesNotMatch(holdfast.errorLog(), /\[alert\]/);
});
