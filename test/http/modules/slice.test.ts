import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { have } from "../../support/have.ts";
import { startHoldfast, startNginx } from "../../support/holdfast.ts";
import { describeSentences } from "../../support/sentences.ts";
import { get, type RawResponse, request, send } from "../../support/tcp.ts";
import { waitFor } from "../../support/wait.ts";

const FILE = "0123456789abcdefghijklmnopqrstuvwxyz";

/** A server of FILE. What follows `bad=` in a request's arguments is what it does wrong from byte 4 on. */
function answer(asked: IncomingMessage, response: ServerResponse): void {
  const range = /^bytes=(\d+)-(\d+)$/.exec(asked.headers.range ?? "");
  const bad = /[?&]bad=(\w+)/.exec(asked.url ?? "")?.[1];
  const at = Number(/[?&]at=(\d+)/.exec(asked.url ?? "")?.[1] ?? 4);
  if (range === null || asked.url?.startsWith("/whole") === true) {
    response.writeHead(200, { "Content-Length": FILE.length, ETag: '"file"' }).end(FILE);
    return;
  }
  const start = Number(range[1]);
  const end = Math.min(Number(range[2]) + 1, FILE.length);
  const wrong = start >= at ? bad : undefined;
  const fields: Record<string, string> = {
    ETag: '"file"',
    "Accept-Ranges": "bytes",
    "Last-Modified": "Sun, 22 Nov 2026 13:06:26 GMT",
  };
  fields["Content-Range"] = `bytes ${start}-${end - 1}/${FILE.length}`;
  if (wrong === "etag") fields.ETag = '"other"';
  if (wrong === "noetag") delete fields.ETag;
  if (wrong === "norange") delete fields["Content-Range"];
  if (wrong === "range") fields["Content-Range"] = "bytes x";
  if (wrong === "spaces") fields["Content-Range"] = `bytes  ${start} -  ${end - 1} / ${FILE.length} `;
  if (wrong === "length") fields["Content-Range"] = `bytes ${start}-${end - 1}/*`;
  if (wrong === "start") fields["Content-Range"] = `bytes ${start + 1}-${end - 1}/${FILE.length}`;
  if (wrong === "huge") fields["Content-Range"] = `bytes ${start}-${end - 1}/99999999999999999999`;
  if (wrong === "grown") fields["Content-Range"] = `bytes ${start}-${range[2]}/${start + 100}`;
  if (wrong === "error") {
    response.writeHead(503).end("busy");
    return;
  }
  response.writeHead(wrong === "status" ? 200 : 206, fields);
  if (asked.method === "HEAD") response.end();
  else if (wrong === "reset") asked.socket.destroy();
  else if (wrong === "more") response.end(`${FILE.slice(start, end)}HTTP/1.1 200 OK`);
  else if (wrong === "grown") response.end(FILE.slice(start, end).padEnd(Number(range[2]) + 1 - start, "."));
  else response.end(FILE.slice(start, end));
}

/** Starts it; `seen` has the ranges that it was asked for. */
async function fileServer(t: TestContext): Promise<{ readonly port: number; readonly seen: string[] }> {
  const seen: string[] = [];
  const server = createServer((asked, response) => {
    seen.push(asked.headers.range ?? "-");
    answer(asked, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, seen };
}

const configFor =
  (backend: number) =>
  ([port]: readonly number[]): string =>
    `http {
  log_format short "$uri $status $body_bytes_sent";
  access_log logs/access.log short;
  server {
    listen 127.0.0.1:${port};
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Range $slice_range;
    location / { slice 4; proxy_pass http://127.0.0.1:${backend}; add_header X-Range "$slice_range"; }
    location /odd/ { slice 5; proxy_pass http://127.0.0.1:${backend}/; }
    location /unbuffered/ { slice 4; proxy_buffering off; proxy_pass http://127.0.0.1:${backend}/; }
    location /large/ { slice 1k; proxy_pass http://127.0.0.1:${backend}/; }
    location /none/ { proxy_pass http://127.0.0.1:${backend}/; }
    location /unasked/ { slice 4; proxy_pass http://127.0.0.1:${backend}/; proxy_set_header Range $http_range; }
    location /named/ { error_page 404 = @named; return 404; }
    location @named { slice 4; proxy_pass http://127.0.0.1:${backend}; }
    location /sub/ { slice 4; proxy_pass http://127.0.0.1:${backend}/; sub_filter_types *; sub_filter_once off; sub_filter 34 "<34>"; }
  }
}`;

const RANGES = [
  ...[
    "bytes=0-0",
    "bytes=3-4",
    "bytes=4-7",
    "bytes=5-5",
    "bytes=0-",
    "bytes=10-",
    "bytes=-5",
    "bytes=-100",
    "bytes=35-",
    "bytes=35-35",
  ],
  ...[
    "bytes=2-100",
    "bytes=36-",
    "bytes=40-50",
    "bytes=9-3",
    "bytes=1-2,9-10",
    "bytes=x",
    "bytes= 6 - 9",
    "BYTES=6-9",
    "items=1-2",
    "bytes=8-23",
  ],
  ...["bytes=99999999999999999999-", "bytes=-0"],
];

/** A response that was not begun. */
const CLOSED: Comparable = { status: 0, fields: "", body: "" };

interface Comparable {
  readonly status: number;
  readonly fields: string;
  readonly body: string;
}

function comparable({ status, headers, body }: RawResponse): Comparable {
  const names = ["content-range", "accept-ranges", "etag", "last-modified", "x-range"];
  // Error pages differ in the name at their end.
  if (status < 400) names.push("content-length");
  const fields = headers.filter(([name]) => names.includes(name)).map(([name, value]) => `${name}: ${value}`);
  return { status, fields: fields.sort().join("\n"), body: status < 400 ? body : "" };
}

test("a response is put together of slices as nginx does it", { skip: have("nginx") }, async (t) => {
  const backends = await Promise.all([fileServer(t), fileServer(t)]);
  const ours = await startHoldfast(t, { config: configFor(backends[0].port) });
  const theirs = await startNginx(t, { config: configFor(backends[1].port) });
  const compare = async (path: string, ...fields: string[]): Promise<Comparable> => {
    for (const { seen } of backends) seen.length = 0;
    const [found, expected] = await Promise.all(
      [ours, theirs].map(async ({ port }) => get(port, path, ...fields).then(comparable, () => CLOSED)),
    );
    assert.deepEqual(found, expected, `${path} ${fields.join()}`);
    assert.deepEqual(backends[0].seen, backends[1].seen, `what the server was asked for by ${path} ${fields.join()}`);
    return found;
  };
  for (const path of ["/f", "/odd/f", "/unbuffered/f", "/large/f", "/none/f", "/unasked/f", "/named/f", "/whole"]) {
    await compare(path);
    for (const range of RANGES) await compare(path, `Range: ${range}`);
  }
  // nginx applies a client's range, which it has not promised, to all slices but the first.
  await compare("/sub/f");
  const conditions = ['"file"', '"other"', "Sun, 22 Nov 2026 13:06:26 GMT", "Sun, 22 Nov 2026 13:06:27 GMT"];
  for (const condition of conditions) await compare("/f", `If-Range: ${condition}`, "Range: bytes=17-22");
  await compare("/f", 'If-None-Match: "file"');
  await compare("/f?bad=spaces");
  assert.equal((await compare("/f", "Range: bytes=17-22")).body, FILE.slice(17, 23));
  for (const bad of ["etag", "noetag", "norange", "range", "length", "start", "huge", "error", "status"]) {
    await compare(`/f?bad=${bad}&at=0`);
  }
  const head = "HEAD /f HTTP/1.1\r\nHost: x\r\n\r\n";
  const [found, expected] = await Promise.all(
    [ours, theirs].map(async ({ port }) => comparable(await request(port, head))),
  );
  assert.deepEqual(found, expected);
});

test("a slice that does not fit breaks the response off, with nginx's sentence", { skip: have("nginx") }, async (t) => {
  const backend = await fileServer(t);
  const ours = await startHoldfast(t, { config: configFor(backend.port) });
  const theirs = await startNginx(t, { config: configFor(backend.port) });
  const sentence = /\[error\] [\d#]+: \*\d+ ([^\n]*slice response(?:: \d+-\d+|(?=[,\n ])))/;
  for (const bad of ["etag", "noetag", "norange", "range", "length", "start", "huge", "error", "status"]) {
    const said: string[] = [];
    for (const program of [ours, theirs]) {
      const { port } = program;
      const before = program.errorLog().length;
      await assert.rejects(get(port, `/f?bad=${bad}`), /the peer closed/, bad);
      const [, text] = await waitFor(() => sentence.exec(program.errorLog().slice(before)), `a sentence about ${bad}`);
      said.push(text);
    }
    assert.equal(said[0], said[1], bad);
  }
  await assert.rejects(get(ours.port, "/f?bad=reset"), /the peer closed/);
});

test("what a server sends beyond a slice is left out, where nginx appends it to the response", async (t) => {
  const backend = await fileServer(t);
  const { port } = await startHoldfast(t, { config: configFor(backend.port) });
  const next = "GET /f HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  for (const path of ["/f", "/unbuffered/f"]) {
    for (const at of [0, 4, 36 - 4]) {
      const { status, body } = await get(port, `${path}?bad=more&at=${at}`);
      assert.deepEqual({ status, body }, { status: 200, body: FILE }, `${path} from ${at} on`);
    }
    const part = await get(port, `${path}?bad=more&at=0`, "Range: bytes=2-12");
    assert.equal(part.body, FILE.slice(2, 13));
    const both = await send(port, `GET ${path}?bad=more&at=0 HTTP/1.1\r\nHost: x\r\n\r\n${next}`);
    assert.equal(both.split("HTTP/1.1").length - 1, 2, "nothing of it is taken for a response");
  }
  // With slices of five bytes the last has one, unless the file has become longer.
  const grown = await get(port, "/odd/f?bad=grown&at=35");
  assert.equal(grown.body, FILE);
});

test("a client that reads slowly gets all slices, and one that has gone is not asked for", async (t) => {
  const backend = await fileServer(t);
  const holdfast = await startHoldfast(t, { config: configFor(backend.port) });
  const { port } = holdfast;
  for (let i = 0; i < 20; i++) assert.equal((await get(port, "/f")).body, FILE);
  const twice = "GET /f HTTP/1.1\r\nHost: x\r\nRange: bytes=2-12\r\n\r\n";
  assert.equal((await request(port, twice)).body, FILE.slice(2, 13), "the connection serves one request after another");
  await holdfast.waitForLog(/^\/f 206 11$/m, "logs/access.log");
});

describeSentences("slices", [
  ["no size", "slice;"],
  ["a wrong size", "slice 1x;"],
  ["a size twice", "slice 1m;\nslice 1m;"],
  ["in an if", "server {\nlocation / {\nif ($uri) {\nslice 1m;\n}\n}\n}"],
  ["the variable is fixed", "server {\nset $slice_range 1;\n}"],
]);
