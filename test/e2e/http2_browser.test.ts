/** HTTP/2 with a real browser, over TLS. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { startBrowser } from "../support/browser.ts";
import { selfSigned } from "../support/certificates.ts";
import { have } from "../support/have.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { waitFor } from "../support/wait.ts";

const RESOURCES = 200;
const LARGE = 64 * 1024 * 1024;

const picture = (number: number): string =>
  `<svg xmlns="http://www.w3.org/2000/svg" width="${number + 1}" height="8"><rect width="${number + 1}" height="8"/></svg>`;

/** Half of them are files, the other half a server's. */
const page = `<!doctype html><title>Pictures</title>${Array.from(
  { length: RESOURCES },
  (_, i) => `<img src="/${i % 2 === 0 ? "files" : "server"}/${i}.svg">`,
).join("")}`;

const WIDTHS = "[...document.images].map((image) => image.complete ? image.naturalWidth : 0)";
const PROTOCOLS = `[...new Set(performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))
  .map((entry) => entry.nextHopProtocol))].join()`;

test(`a page with ${RESOURCES} pictures, an upload, a download that is cancelled, and the page again`, {
  skip: have("chromium"),
}, async (t) => {
  const { certificate, key } = selfSigned("localhost");
  let cancelled = 0;
  const backend = await httpBackend(t, (request, response) => {
    if (request.url === "/server/upload") {
      let length = 0;
      request.on("data", (piece: Buffer) => {
        length += piece.length;
      });
      request.on("end", () => response.end(`${length}`));
    } else if (request.url === "/server/large") {
      response.setHeader("Content-Length", LARGE);
      const more = (): void => {
        if (!response.destroyed && response.write(Buffer.alloc(64 * 1024))) setImmediate(more);
      };
      response.on("drain", more);
      response.on("close", () => cancelled++);
      more();
    } else {
      const number = Number(/(\d+)\.svg$/.exec(request.url ?? "")?.[1]);
      response.setHeader("Content-Type", "image/svg+xml").end(picture(number));
    }
  });
  const files = Object.fromEntries(
    Array.from({ length: RESOURCES / 2 }, (_, i) => [`html/files/${2 * i}.svg`, picture(2 * i)]),
  );
  const holdfast = await startHoldfast(t, {
    files: { "conf/c.pem": certificate, "conf/k.pem": key, "html/index.html": page, "html/favicon.ico": "", ...files },
    config: ([port]) => `http { root html; client_max_body_size 10m; proxy_max_temp_file_size 0;
      types { text/html html; image/svg+xml svg; }
      log_format protocol "$connection $server_protocol $http2 $status $request_uri"; access_log logs/access.log protocol;
      server { listen 127.0.0.1:${port} ssl; http2 on; ssl_certificate c.pem; ssl_certificate_key k.pem;
        location /server/ { proxy_pass http://${backend.address}; proxy_http_version 1.1; } } }`,
  });
  const browser = await startBrowser(t);
  const widths = Array.from({ length: RESOURCES }, (_, i) => i + 1);

  await browser.open(`https://127.0.0.1:${holdfast.port}/`);
  assert.deepEqual(await browser.evaluate(WIDTHS), widths);
  assert.equal(await browser.evaluate(PROTOCOLS), "h2");
  const lines = (): string[] => holdfast.read("logs/access.log").trim().split("\n");
  await waitFor(() => lines().length >= RESOURCES + 1, "all lines in the log");
  assert.equal(new Set(lines().map((line) => line.split(" ")[0])).size, 1, "one connection");
  assert.match(lines()[0], /^\d+ HTTP\/2\.0 h2 200 \/$/);

  const body = 3_000_000;
  const upload = `fetch("/server/upload", { method: "POST", body: new Uint8Array(${body}) }).then((answer) => answer.text())`;
  assert.equal(await browser.evaluate(upload), `${body}`);

  const cancel = `(async () => {
    const abort = new AbortController();
    const { body } = await fetch("/server/large", { signal: abort.signal });
    const { value } = await body.getReader().read();
    abort.abort();
    return value.length;
  })()`;
  assert.ok(Number(await browser.evaluate(cancel)) > 0);
  await waitFor(() => cancelled === 1, "the server to see that");
  await holdfast.waitForLog(/client canceled stream \d+/);

  await browser.open(`https://127.0.0.1:${holdfast.port}/?again`);
  assert.deepEqual(await browser.evaluate(WIDTHS), widths);
  assert.equal(await browser.evaluate(PROTOCOLS), "h2");
  assert.equal(new Set(lines().map((line) => line.split(" ")[0])).size, 1, "still one connection");
  assert.doesNotMatch(holdfast.errorLog(), /\[(alert|emerg|crit|error)\]/);
});
