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
