import assert from "node:assert/strict";
import { test } from "node:test";
import { essenceOf } from "../support/essence.ts";
import { have } from "../support/have.ts";
import { startHoldfast, startNginx } from "../support/holdfast.ts";
import { request } from "../support/tcp.ts";

const config = ([port]: readonly number[]): string => `http { server { listen 127.0.0.1:${port};
  location / { empty_gif; } } }`;

const REQUESTS = [
  "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
  "HEAD /any/name.png HTTP/1.0\r\n\r\n",
  "GET / HTTP/1.0\r\nIf-Modified-Since: Mon, 28 Sep 1970 06:00:00 GMT\r\n\r\n",
  "GET / HTTP/1.0\r\nRange: bytes=0-5\r\n\r\n",
  "POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
];

test("the empty GIF is nginx's", { skip: have("nginx") }, async (t) => {
  const holdfast = await startHoldfast(t, { config });
  const nginx = await startNginx(t, { config });
  for (const text of REQUESTS) {
    const [ours, theirs] = await Promise.all([request(holdfast.port, text), request(nginx.port, text)]);
    assert.deepEqual(essenceOf(ours), essenceOf(theirs), text);
  }
});
