import assert from "node:assert/strict";
import { type RequestOptions, request } from "node:https";
import { test } from "node:test";
import { noOpenssl, selfSigned } from "../support/certificates.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";
import { getOverTls } from "../support/tls.ts";

/** `listen … ssl`: a TLS server to clients that are not ours. */

/** The body of the answer over TLS. */
function bodyOverTls(port: number, path: string, options: RequestOptions = {}): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const asked = request({ port, host: "127.0.0.1", path, rejectUnauthorized: false, agent: false, ...options });
    asked.on("error", reject).on("response", (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("end", () => resolve(Buffer.concat(parts)));
      response.on("error", reject);
    });
    asked.end();
  });
}

test("requests over TLS 1.2 and 1.3, each server with its own certificate", { skip: noOpenssl }, async (t) => {
  const one = selfSigned("one.example");
  const two = selfSigned("two.example");
  const large = Buffer.alloc(3_000_000, "0123456789abcde");
  const holdfast = await startHoldfast(t, {
    files: {
      "conf/one.crt": one.certificate,
      "conf/one.key": one.key,
      "conf/two.crt": two.certificate,
      "conf/two.key": two.key,
      "html/large": large,
    },
    config: ([port]) => `worker_processes 1; http { access_log off;
      server { listen 127.0.0.1:${port} ssl; ssl_certificate one.crt; ssl_certificate_key one.key;
        location / { return 200 "one $scheme $ssl_protocol $ssl_server_name"; } location /large {} }
      server { listen 127.0.0.1:${port} ssl; server_name two.example; ssl_certificate two.crt; ssl_certificate_key two.key;
        return 200 "two $https"; } }`,
  });
  const { port } = holdfast;
  assert.equal(String(await bodyOverTls(port, "/", { maxVersion: "TLSv1.2" })), "one https TLSv1.2 ");
  const named = await bodyOverTls(port, "/", {
    servername: "one.example",
    ca: one.certificate,
    rejectUnauthorized: true,
  });
  assert.equal(String(named), "one https TLSv1.3 one.example");
  const other = await bodyOverTls(port, "/", {
    headers: { host: "two.example" },
    servername: "two.example",
    ca: two.certificate,
    rejectUnauthorized: true,
  });
  assert.equal(String(other), "two on");
  assert.ok(large.equals(await bodyOverTls(port, "/large")));
  const plain = await get(port, "/");
  assert.equal(plain.status, 400);
  assert.match(plain.body, /The plain HTTP request was sent to HTTPS port/);
});

test("redirects lead back to https", { skip: noOpenssl }, async (t) => {
  const { certificate, key } = selfSigned("localhost");
  const holdfast = await startHoldfast(t, {
    files: { "conf/crt": certificate, "conf/key": key, "html/folder/index.html": "x" },
    config: ([port]) => `worker_processes 1; http { ssl_certificate crt; ssl_certificate_key key;
      server { listen 127.0.0.1:${port} ssl; location /folder {} location /a { return 301 /b; }
        location /short { port_in_redirect off; return 301 /b; } location /relative { absolute_redirect off; return 301 /b; } } }`,
  });
  const { port } = holdfast;
  const location = async (path: string) => (await getOverTls(port, path, "name")).headers.get("location");
  assert.equal(await location("/folder"), `https://name:${port}/folder/`);
  assert.equal(await location("/a"), `https://name:${port}/b`);
  assert.equal(await location("/short"), "https://name/b");
  assert.equal(await location("/relative"), "/b");
});
