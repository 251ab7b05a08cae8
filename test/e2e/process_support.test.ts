/** That the support library's nginx starts, serves and leaves: differential tests stand on it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { cannedBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { startNginx } from "../support/holdfast.ts";
import { get, RawConnection } from "../support/tcp.ts";

test("a real nginx beside", { skip: have("nginx") }, async (t) => {
  const backend = await cannedBackend(t, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback");
  const nginx = await startNginx(t, {
    config: (ports) => `http { server { listen 127.0.0.1:${ports[0]};
      location / { return 200 "here\\n"; }
      location /p { proxy_pass http://${backend.address}; } } }`,
  });
  const here = await get(nginx.port, "/");
  assert.deepEqual([here.status, here.body], [200, "here\n"]);
  assert.equal((await get(nginx.port, "/p")).body, "back");

  const connection = await RawConnection.open(nginx.port);
  connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal((await connection.readResponse()).body, "here\n");
  assert.equal((await connection.readResponse({ head: true })).header("Content-Length"), "5");
  connection.close();
  assert.equal(await nginx.stop("SIGQUIT"), 0);
});
