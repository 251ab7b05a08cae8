import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { type TestContext, test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** The subrequests that SSI commands make. Each scenario holds for nginx too. */

type Files = Readonly<Record<string, string>>;
type Start = (t: TestContext, config: string, files?: Files) => Promise<Running>;

const PROGRAMS: readonly (readonly [name: string, start: Start, skip: false | string])[] = [
  [
    "holdfast",
    (t, config, files) => startHoldfast(t, { config: (p) => config.replaceAll("PORT", String(p[0])), files }),
    false,
  ],
  [
    "nginx",
    (t, config, files) => startNginx(t, { config: (p) => config.replaceAll("PORT", String(p[0])), files }),
    have("nginx"),
  ],
];

function scenario(name: string, run: (t: TestContext, start: Start) => Promise<void>): void {
  for (const [program, start, skip] of PROGRAMS) test(`${name} (${program})`, { skip }, (t) => run(t, start));
}

/** A backend whose answers the test gives. */
async function asked(t: TestContext) {
  const waiting = new Map<string, ServerResponse>();
  const gone: string[] = [];
  const backend = await httpBackend(t, (incoming, response) => {
    const { url = "" } = incoming;
    waiting.set(url, response);
    response.on("close", () => {
      if (!response.writableFinished) gone.push(url);
    });
  });
  const isAsked = (path: string) => waitFor(() => waiting.get(path), `a request for ${path}`);
  return { address: backend.address, waiting, gone, isAsked };
}

/** A backend that answers with these pieces, each a chunk of its own. */
function inPieces(t: TestContext, pieces: readonly string[]) {
  return httpBackend(t, (_incoming, response) => {
    response.writeHead(200, { "Content-Type": "text/html" });
    for (const piece of pieces) response.write(piece, "latin1");
    response.end();
  });
}

scenario("the includes of a page are all under way at once, and come in their order", async (t, start) => {
  const parts = await asked(t);
  const numbers = [1, 2, 3, 4, 5];
  const backend = await inPieces(
    t,
    numbers.map((n) => `${n}<!--#include virtual="/part/${n}" -->`),
  );
  const { port } = await start(
    t,
    `http { server { listen 127.0.0.1:PORT; ssi on; location /part/ { proxy_pass http://${parts.address}; }
      location / { proxy_pass http://${backend.address}; } } }`,
  );
  const page = get(port, "/");
  for (const n of numbers) await parts.isAsked(`/part/${n}`);
  for (const n of numbers.toReversed()) parts.waiting.get(`/part/${n}`)?.end(`<${n}>`);
  assert.equal((await page).body, "1<1>2<2>3<3>4<4>5<5>");
});

scenario("an include of an include is under way before its turn", async (t, start) => {
  const parts = await asked(t);
  const { port } = await start(
    t,
    `http { server { listen 127.0.0.1:PORT; root html; ssi on; location /part/ { proxy_pass http://${parts.address}; } } }`,
    {
      "html/page.html": 'a<!--#include virtual="/part/1" -->b<!--#include virtual="/inner.html" -->c',
      "html/inner.html": 'd<!--#include virtual="/part/2" -->e<!--#include virtual="/part/3" -->f',
    },
  );
  const page = get(port, "/page.html");
  for (const n of [1, 2, 3]) await parts.isAsked(`/part/${n}`);
  for (const n of [3, 2, 1]) parts.waiting.get(`/part/${n}`)?.end(`<${n}>`);
  assert.equal((await page).body, "a<1>bd<2>e<3>fc");
});

scenario("wait, file and set hold up what follows", async (t, start) => {
  const parts = await asked(t);
  const { port } = await start(
    t,
    `http { server { listen 127.0.0.1:PORT; root html; ssi on; location /part/ { proxy_pass http://${parts.address}; } } }`,
    {
      "html/page.html": `<!--#include virtual="/part/1" wait="yes" --><!--#include file="part/2" -->
<!--#include virtual="/part/3" set="x" --><!--#include virtual="/part/4?$x" -->|<!--#echo var="x" -->`,
    },
  );
  const page = get(port, "/page.html");
  for (const path of ["/part/1", "/part/2", "/part/3", "/part/4?3"]) {
    const response = await parts.isAsked(path);
    assert.equal(parts.waiting.size, 1, path);
    parts.waiting.clear();
    response.end(path.slice(6));
  }
  assert.equal((await page).body, "12\n4?3|3");
});

scenario("a client that leaves ends the include that the page waits for", async (t, start) => {
  const parts = await asked(t);
  const program = await start(
    t,
    `http { log_format s "$uri $status"; access_log logs/access.log s; server { listen 127.0.0.1:PORT; root html; ssi on;
      location /part/ { proxy_pass http://${parts.address}; } } }`,
    { "html/page.html": 'a<!--#include virtual="/part/1" wait="yes" -->b<!--#include virtual="/part/2" -->' },
  );
  const client = await RawConnection.open(program.port);
  client.write("GET /page.html HTTP/1.1\r\nHost: a\r\n\r\n");
  await parts.isAsked("/part/1");
  client.socket.destroy();
  await waitFor(() => parts.gone.includes("/part/1"), "the end of the first include");
  await program.waitForLog(/^\/page.html (499|200)$/m, "logs/access.log");
  assert.equal(parts.waiting.size, 1);
});

scenario("what a page shows first is sent while it waits, if it is not too little", async (t, start) => {
  const parts = await asked(t);
  const { port } = await start(
    t,
    `http { server { listen 127.0.0.1:PORT; root html; ssi on; location /part/ { proxy_pass http://${parts.address}; }
      location /soon/ { alias html/; postpone_output 0; } } }`,
    {
      "html/long.html": `${"x".repeat(2000)}<!--#include virtual="/part/1" -->`,
      "html/short.html": '<!--#include virtual="/part/2" -->',
    },
  );
  const client = await RawConnection.open(port);
  client.write("GET /long.html HTTP/1.1\r\nHost: a\r\n\r\n");
  await waitFor(() => client.received.endsWith("xx\r\n"), "the beginning of the page");
  (await parts.isAsked("/part/1")).end("1");
  assert.equal((await client.readResponse()).body, `${"x".repeat(2000)}1`);
  client.write("GET /soon/short.html HTTP/1.1\r\nHost: a\r\n\r\n");
  await waitFor(() => client.received.startsWith("HTTP/1.1 200 OK\r\n"), "the head");
  (await parts.isAsked("/part/2")).end("2");
  assert.equal((await client.readResponse()).body, "2");
  client.socket.destroy();
});

scenario("a page has no length, dates, tag or ranges of its own", async (t, start) => {
  const { port } = await start(
    t,
    `http { server { listen 127.0.0.1:PORT; root html; ssi on; location /dated/ { alias html/; ssi_last_modified on; }
      location /text/ { alias html/; ssi_types text/plain; default_type text/plain; types {} } } }`,
    {
      "html/page.html": '<!--#echo var="request_method" -->',
      "html/inc.html": '<!--#include virtual="/page.html" -->',
    },
  );
  const seen = async (head: string) => {
    const client = await RawConnection.open(port);
    client.write(`${head} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    const answer = await client.readAll();
    const fields = ["content-length", "last-modified", "etag", "accept-ranges", "transfer-encoding"];
    return [
      ...fields.filter((name) => new RegExp(`^${name}:`, "im").test(answer)),
      /^ETag: (W\/)?/im.exec(answer)?.[1] ?? "",
      answer.slice(answer.indexOf("\r\n\r\n") + 4),
    ];
  };
  assert.deepEqual(await seen("GET /page.html"), ["transfer-encoding", "", "3\r\nGET\r\n0\r\n\r\n"]);
  assert.deepEqual(await seen("HEAD /page.html"), ["", ""]);
  assert.deepEqual(await seen("GET /dated/page.html"), [
    "last-modified",
    "etag",
    "transfer-encoding",
    "W/",
    "3\r\nGET\r\n0\r\n\r\n",
  ]);
  assert.deepEqual(await seen("GET /text/inc.html"), ["transfer-encoding", "", "3\r\nGET\r\n0\r\n\r\n"]);
});

scenario("an include shows what answers in its place when it fails", async (t, start) => {
  const refused = await httpBackend(t, () => {});
  await refused.close();
  const failing = await httpBackend(t, (incoming, response) => {
    response.writeHead(Number(incoming.url?.slice(1)), { "Content-Type": "text/html" });
    response.end('own<!--#echo var="uri" -->');
  });
  const { port } = await start(
    t,
    `http { server { listen 127.0.0.1:PORT; root html; ssi on; error_page 410 502 /sorry.html;
      location /gone { return 410; } location /dead { proxy_pass http://${refused.address}; }
      location /own/ { proxy_pass http://${failing.address}/; } location /kept/ { proxy_intercept_errors on; error_page 500 /sorry.html; proxy_pass http://${failing.address}/; } } }`,
    {
      "html/sorry.html": 'sorry <!--#echo var="uri" -->',
      "html/page.html":
        '<!--#include virtual="/gone" -->,<!--#include virtual="/dead" wait="yes" -->,<!--#include virtual="/own/500" -->,<!--#include virtual="/own/404" -->,<!--#include virtual="/kept/500" -->',
    },
  );
  const page = await get(port, "/page.html");
  assert.equal(page.status, 200);
  assert.equal(page.body, "sorry /sorry.html,sorry /sorry.html,own/own/500,own/own/404,sorry /sorry.html");
});

scenario("a page that includes itself ends", async (t, start) => {
  const program = await start(t, "http { server { listen 127.0.0.1:PORT; root html; ssi on; } }", {
    "html/page.html": '(<!--#include virtual="/page.html" -->)',
  });
  const { body } = await get(program.port, "/page.html");
  assert.equal(body, `${"(".repeat(52)}[an error occurred while processing the directive]${")".repeat(52)}`);
  await program.waitForLog(/subrequests cycle while processing "\/page.html"/);
});

scenario("an answer too large for a variable ends the request", async (t, start) => {
  const program = await start(
    t,
    `http { server { listen 127.0.0.1:PORT; root html; ssi on; location /small/ { subrequest_output_buffer_size 10; } } }`,
    {
      "html/page.html": 'a<!--#include virtual="$arg_of" set="x" --><!--#echo var="x" -->',
      "html/small/ten": "1234567890",
      "html/small/more": "12345678901",
    },
  );
  assert.equal((await get(program.port, "/page.html?of=/small/ten")).body, "a1234567890");
  const client = await RawConnection.open(program.port);
  client.write("GET /page.html?of=/small/more HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal(await client.readAll(), "");
  await program.waitForLog(/too big subrequest response: 11/);
});

scenario("a large include comes whole to a client that reads late", async (t, start) => {
  const { port } = await start(t, "http { server { listen 127.0.0.1:PORT; root html; ssi on; } }", {
    "html/page.html": '1<!--#include virtual="/large" -->2<!--#include virtual="/large" -->3',
    "html/large": "0123456789abcdef".repeat(200_000),
  });
  const client = await RawConnection.open(port);
  client.socket.pause();
  client.write("GET /page.html HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  const other = await get(port, "/page.html");
  client.socket.resume();
  const large = "0123456789abcdef".repeat(200_000);
  assert.ok((await client.readResponse()).body === `1${large}2${large}3`);
  assert.ok(other.body === `1${large}2${large}3`);
});
