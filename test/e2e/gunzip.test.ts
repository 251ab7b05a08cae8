/** `gunzip`, as nginx beside it answers; and what comes of streams that are broken, or expand without end. */
import assert from "node:assert/strict";
import { get as httpGet, type IncomingMessage } from "node:http";
import { test } from "node:test";
import { inspect, isDeepStrictEqual } from "node:util";
import { gzipSync } from "node:zlib";
import { httpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { Chance } from "../support/mutations.ts";
import { watchPeak, workersOf } from "../support/processes.ts";
import { get, RawConnection, send } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const TEXT = Array.from({ length: 4000 }, (_, i) => `${i * i} is the square of ${i}\n`).join("");
const WHOLE = gzipSync(TEXT);

/** Many different ways to break it, the same each time. */
function broken(seed: number): Buffer {
  const chance = new Chance(seed);
  const bytes = Buffer.from(WHOLE);
  for (let i = chance.below(3); i >= 0; i--) bytes[chance.below(bytes.length)] ^= 1 << chance.below(8);
  return chance.below(3) === 0 ? bytes.subarray(0, chance.below(bytes.length)) : bytes;
}

const BODIES: Record<string, Buffer> = {
  whole: WHOLE,
  twice: Buffer.concat([WHOLE, gzipSync("and another")]),
  empty: gzipSync(""),
  nothing: Buffer.alloc(0),
  long: gzipSync(TEXT.repeat(20)),
  plain: Buffer.from(TEXT),
  cut: WHOLE.subarray(0, -9),
  followed: Buffer.concat([WHOLE, Buffer.from("something else")]),
  zeros: Buffer.concat([WHOLE, Buffer.alloc(100)]),
  wrong: Buffer.concat([WHOLE.subarray(0, -8), Buffer.alloc(8)]),
};
for (let seed = 0; seed < 60; seed++) BODIES[`broken${seed}`] = broken(seed);

const config =
  (backend: string) =>
  ([port]: readonly number[]): string =>
    `
  worker_processes 1;
  http {
    proxy_http_version 1.1;
    server {
      listen 127.0.0.1:${port};
      gunzip on;
      gzip_vary on;
      location / { proxy_pass http://${backend}/; }
      location /unbuffered/ { proxy_buffering off; proxy_pass http://${backend}/; }
      location /off/ { gunzip off; proxy_pass http://${backend}/; }
      location /buffers/ { gunzip_buffers 1 1k; proxy_pass http://${backend}/; }
      location /sub/ { sub_filter square SQUARE; sub_filter_once off; sub_filter_types *; proxy_pass http://${backend}/; }
      location /again/ { gzip on; gzip_types *; gunzip on; proxy_pass http://${backend}/; }
      location /part { addition_types *; add_before_body /whole; add_after_body /long; return 200 -own-; }
    }
  }`;

async function backend(t: Parameters<typeof startNginx>[0]): Promise<string> {
  const { address } = await httpBackend(t, ({ url }, response) => {
    const [path, coding = "gzip"] = (url ?? "").slice(1).split("?");
    response.sendDate = false;
    if (coding !== "") response.setHeader("Content-Encoding", decodeURIComponent(coding));
    response.setHeader("Content-Type", "text/plain");
    response.setHeader("ETag", '"strong"');
    response.setHeader("Accept-Ranges", "bytes");
    response.end(BODIES[path]);
  });
  return address;
}

/** An answer without what differs anyway. Of one that was broken off, no more than that it was. */
function comparable(raw: string): string {
  const end = raw.indexOf("\r\n\r\n");
  if (end < 0) return "broken off";
  const lines = raw.slice(0, end).split("\r\n");
  const head = lines.filter((line) => !/^(Server|Date):/.test(line)).sort();
  let body = raw.slice(end + 4);
  if (head.includes("Transfer-Encoding: chunked")) {
    let text = "";
    for (;;) {
      const line = body.indexOf("\r\n");
      const size = Number.parseInt(body.slice(0, line), 16);
      if (line < 0 || body.length < line + 2 + size + 2) return "broken off";
      if (size === 0) break;
      text += body.slice(line + 2, line + 2 + size);
      body = body.slice(line + 2 + size + 2);
    }
    body = text;
  }
  return `${head.join("\n")}\n\n${body}`;
}

/** What the error log says of expanding, but which flush it was at. */
function failures(program: Running): readonly string[] {
  return [...program.errorLog().matchAll(/inflate\(\) (failed: \d, -?\d|returned -?\d on response end)/g)].map(
    ([, text]) => text.replace(/failed: \d/, "failed: N"),
  );
}

test("gunzip answers as nginx does, also where a stream is broken", { skip: have("nginx") }, async (t) => {
  const address = await backend(t);
  const holdfast = await startHoldfast(t, { config: config(address) });
  const nginx = await startNginx(t, { config: config(address) });
  const same = async (path: string, ...fields: string[]) => {
    const method = fields[0] === "HEAD" ? "HEAD" : "GET";
    const lines = fields.filter((field) => field !== "HEAD");
    const raw = [`${method} ${path} HTTP/1.1`, "Host: a", "Connection: close", ...lines, "", ""].join("\r\n");
    const [mine, theirs] = await Promise.all([send(holdfast.port, raw), send(nginx.port, raw)]);
    assert.ok(
      comparable(mine) === comparable(theirs),
      `${path} ${fields}:\n${mine.slice(0, 500)}\n\n${theirs.slice(0, 500)}`,
    );
  };
  for (const body of Object.keys(BODIES)) {
    await same(`/${body}`);
    await waitFor(
      () => isDeepStrictEqual(failures(holdfast), failures(nginx)),
      () => `${body}: ${inspect({ ours: failures(holdfast), theirs: failures(nginx) })}`,
    );
  }
  for (const place of ["unbuffered", "off", "buffers", "sub", "again"]) {
    for (const body of ["whole", "twice", "long", "empty", "cut"]) await same(`/${place}/${body}`);
  }
  for (const path of ["/whole", "/again/whole", "/off/whole"]) {
    await same(path, "HEAD");
    for (const accepted of ["gzip", "gzip;q=0", "identity"]) await same(path, `Accept-Encoding: ${accepted}`);
    await same(path, "Range: bytes=0-9");
  }
  for (const coding of ["GZIP", "x-gzip", "gzip, gzip", "br", ""]) await same(`/plain?${encodeURIComponent(coding)}`);
  await same("/part");
  await same("/part", "Accept-Encoding: gzip");
});

test("what a backend sends without buffering is expanded at once", async (t) => {
  let goOn: (() => void) | undefined;
  const { address } = await httpBackend(t, (_request, response) => {
    const half = WHOLE.length >> 1;
    response.setHeader("Content-Encoding", "gzip");
    response.write(WHOLE.subarray(0, half));
    goOn = () => response.end(WHOLE.subarray(half));
  });
  const holdfast = await startHoldfast(t, { config: config(address) });
  const connection = await RawConnection.open(holdfast.port);
  connection.write("GET /unbuffered/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  await connection.until((received) => received.includes("10000 is the square of 100\n"));
  goOn?.();
  assert.equal((await connection.readResponse()).body, TEXT);
  connection.close();
});

/** A gigabyte of zeros, in a megabyte. */
function bomb(): Buffer {
  const member = gzipSync(Buffer.alloc(64 * 1024 * 1024), { level: 9 });
  return Buffer.concat(Array<Buffer>(16).fill(member));
}

function begun(port: number, path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    httpGet({ host: "127.0.0.1", port, path, agent: false }, resolve).on("error", reject);
  });
}

test("a body that expands to a gigabyte takes no memory, and others are served meanwhile", async (t) => {
  const bytes = bomb();
  const { address } = await httpBackend(t, ({ url }, response) => {
    if (url === "/bomb") response.setHeader("Content-Encoding", "gzip");
    response.end(url === "/bomb" ? bytes : "alive");
  });
  const holdfast = await startHoldfast(t, { config: config(address) });
  assert.equal((await get(holdfast.port, "/alive")).body, "alive");
  const [worker] = workersOf(holdfast.pid);
  const grown = watchPeak(worker);
  // Nobody reads this one.
  const stuck = await begun(holdfast.port, "/bomb");
  const other = await begun(holdfast.port, "/bomb");
  let length = 0;
  for await (const piece of other) {
    length += piece.length;
    if (length > 64 * 1024 * 1024) break;
  }
  assert.equal((await get(holdfast.port, "/alive")).body, "alive");
  const most = grown();
  assert.ok(most < 32 * 1024, `${most} KiB more than at the start`);
  stuck.on("error", () => {});
  stuck.destroy();
  assert.doesNotMatch(holdfast.errorLog(), /\[(alert|crit|emerg)\]/);
});
