import assert from "node:assert/strict";
import { type RequestOptions, request } from "node:https";
import { test } from "node:test";
import { noOpenssl, selfSigned } from "../support/certificates.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";

/** `listen … ssl`: a TLS server to clients that are not ours. */

/** The body of the answer over TLS. */
function getOverTls(port: number, path: string, options: RequestOptions = {}): Promise<Buffer> {
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
  assert.equal(String(await getOverTls(port, "/", { maxVersion: "TLSv1.2" })), "one https TLSv1.2 ");
  const named = await getOverTls(port, "/", {
    servername: "one.example",
    ca: one.certificate,
    rejectUnauthorized: true,
  });
  assert.equal(String(named), "one https TLSv1.3 one.example");
  const other = await getOverTls(port, "/", {
    headers: { host: "two.example" },
    servername: "two.example",
    ca: two.certificate,
    rejectUnauthorized: true,
  });
  assert.equal(String(other), "two on");
  assert.ok(large.equals(await getOverTls(port, "/large")));
  const plain = await get(port, "/");
  assert.equal(plain.status, 400);
  assert.match(plain.body, /The plain HTTP request was sent to HTTPS port/);
});
