import assert from "node:assert/strict";
import { test } from "node:test";
import { TLSSocket } from "node:tls";
import { bodyOf, httpsBackend } from "../support/backend.ts";
import { noOpenssl, selfSigned } from "../support/certificates.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { get, request } from "../support/tcp.ts";

/** `proxy_pass https://`: requests to servers over TLS that is not ours. */

test("requests and answers of every size, over TLS 1.2 and 1.3", { skip: noOpenssl }, async (t) => {
  const { certificate: cert, key } = selfSigned("backend.example");
  const large = Buffer.alloc(3_000_000, "0123456789abcde");
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    const backend = await httpsBackend(t, { cert, key, maxVersion }, async (request, response) => {
      const body = await bodyOf(request);
      if (request.url === "/large") response.end(large);
      else response.end(`${request.method} ${request.url} ${request.headers.host} ${body.length}`);
    });
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `worker_processes 1; http { client_max_body_size 0;
        upstream group { server ${backend.address}; keepalive 4; }
        server { listen 127.0.0.1:${port};
          location / { proxy_pass https://${backend.address}; }
          location /kept/ { proxy_pass https://group/; }
          location /streamed { proxy_pass https://group; proxy_request_buffering off; proxy_buffering off; } } }`,
    });
    const { port } = holdfast;
    assert.equal((await get(port, "/path?a=b")).body, `GET /path?a=b ${backend.address} 0`);
    assert.ok((await get(port, "/large")).body === large.latin1Slice());
    const before = backend.connections;
    assert.equal((await get(port, "/kept/1")).body, "GET /1 group 0");
    assert.equal((await get(port, "/kept/2")).body, "GET /2 group 0");
    assert.equal(backend.connections, before + 1);
    for (const path of ["/posted", "/streamed"]) {
      const head = `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${large.length}\r\nConnection: close\r\n\r\n`;
      const answer = await request(port, Buffer.concat([Buffer.from(head), large]));
      assert.match(answer.body, new RegExp(`^POST ${path} \\S+ ${large.length}$`));
    }
  }
});

test("the name that a server is told (SNI)", { skip: noOpenssl }, async (t) => {
  const { certificate: cert, key } = selfSigned("backend.example");
  const backend = await httpsBackend(t, { cert, key }, (request, response) => {
    const { socket } = request;
    response.end(socket instanceof TLSSocket ? String(socket.servername) : "");
  });
  const { port: to } = backend;
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1; http { upstream backend.example { server 127.0.0.1:${to}; }
      server { listen 127.0.0.1:${port}; proxy_ssl_server_name on;
        location /default { proxy_pass https://backend.example; }
        location /off { proxy_pass https://backend.example; proxy_ssl_server_name off; }
        location /named { proxy_pass https://backend.example; proxy_ssl_name other.example:123; }
        location /variable { proxy_pass https://backend.example; proxy_ssl_name $arg_name; }
        location /ip { proxy_pass https://127.0.0.1:${to}; }
        location /url { proxy_pass $arg_to; } } }`,
  });
  const { port } = holdfast;
  const asked = async (path: string) => (await get(port, path)).body;
  assert.equal(await asked("/default"), "backend.example");
  assert.equal(await asked("/off"), "false");
  assert.equal(await asked("/named"), "other.example");
  assert.equal(await asked("/variable?name=one.example"), "one.example");
  assert.equal(await asked("/variable?name=two.example"), "two.example");
  assert.equal(await asked("/variable"), "false");
  assert.equal(await asked("/ip"), "false");
  assert.equal(await asked("/url?to=https://backend.example/"), "backend.example");
});
