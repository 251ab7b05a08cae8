import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Backend } from "../support/backend.ts";
import { answer, fastcgiBackend } from "../support/fastcgi.ts";
import { packetBackend } from "../support/gateways.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { send } from "../support/tcp.ts";

/** The cache of FastCGI, uwsgi and SCGI, compared with a real nginx's: what clients get, and what applications are asked. */

const PROTOCOLS = ["fastcgi", "uwsgi", "scgi"] as const;
type Protocol = (typeof PROTOCOLS)[number];

/** Requests one after another, with their fields. */
const REQUESTS: readonly (readonly [string, string?])[] = [
  [
    "GET /fresh",
    "Range: bytes=0-1\r\nIf-None-Match: x\r\nIf-Modified-Since: y\r\nIf-Range: z\r\nIf-Match: *\r\nX-Other: o\r\n",
  ],
  ["GET /fresh"],
  ["GET /fresh", "Range: bytes=0-1\r\n"],
  ["GET /fresh", 'If-None-Match: "etag"\r\n'],
  ["HEAD /fresh"],
  ["GET /own/a", "If-Modified-Since: y\r\n"],
  ["GET /stale"],
  ["GET /stale", "If-None-Match: client's\r\nX-Other: o\r\n"],
  ["GET /stale"],
  ["POST /fresh"],
  ["GET /variable/one/a"],
  ["GET /variable/one/a"],
  ["GET /variable/off/a"],
  ["GET /variable/none/a"],
  ["GET /short"],
  ["GET /short"],
];

/** What the application says to a request; its body says how many requests it has had. */
function said(uri: string, params: ReadonlyMap<string, string>, count: number): readonly [string, string] {
  const head = 'Content-Type: text/plain\r\nETag: "etag"\r\nLast-Modified: Mon, 28 Sep 1970 06:00:00 GMT';
  const body = params.get("REQUEST_METHOD") === "HEAD" ? "" : `answer ${count}`;
  if (uri.startsWith("/head")) return [`${head}\r\nContent-Length: 8`, body];
  if (uri.startsWith("/short")) return [`${head}\r\nContent-Length: 80`, body];
  if (!uri.startsWith("/stale")) return [head, body];
  // Kept, although it has expired.
  const stale = `${head}\r\nX-Accel-Expires: @1000000000`;
  return params.get("HTTP_IF_NONE_MATCH") === '"etag"' ? [`Status: 304 Not Modified\r\n${stale}`, ""] : [stale, body];
}

/** An application; `asked` are the parameters of its requests. */
async function application(t: TestContext, protocol: Protocol) {
  const asked: string[][] = [];
  const take = (params: ReadonlyMap<string, string>) => {
    asked.push([...params].map(([name, value]) => `${name}=${value}`));
    return said(params.get("REQUEST_URI") ?? "", params, asked.length);
  };
  const backend =
    protocol === "fastcgi"
      ? await fastcgiBackend(t, ({ params }, connection) => {
          connection.write(answer(...take(params)));
          connection.end();
        })
      : await packetBackend(t, protocol, ({ params }, { socket }) => {
          const [head, body] = take(params);
          socket.end(`${head}\r\n\r\n${body}`);
        });
  return { backend, asked };
}

const config =
  (protocol: Protocol, { address }: Backend) =>
  ([port]: readonly number[]) =>
    `user root; http { GW_cache_path cache keys_zone=one:1m;
      server { listen 127.0.0.1:${port}; add_header X-Cache $upstream_cache_status always;
        GW_cache one; GW_cache_key $request_uri; GW_cache_valid 1h; GW_cache_revalidate on;
        GW_param REQUEST_METHOD $request_method; GW_param REQUEST_URI $request_uri; GW_param HTTP_HOST a;
        location / { GW_pass ${address}; }
        location /own/ { GW_pass ${address}; GW_param REQUEST_URI $request_uri; GW_param HTTP_IF_MODIFIED_SINCE own; }
        location ~ ^/variable/(?<zone>\\w+)/ { GW_pass ${address}; GW_cache $zone; } } }`.replaceAll(
      "GW_",
      `${protocol}_`,
    );

/** What a client gets: whether out of the cache, and what is comparable of it. */
async function ask({ port }: Running, [line, fields = ""]: readonly [string, string?]): Promise<string> {
  const text = await send(port, `${line} HTTP/1.1\r\nHost: a\r\n${fields}Connection: close\r\n\r\n`);
  const [, cache] = /^X-Cache: (.*)\r$/m.exec(text) ?? [];
  const status = text.slice(9, 12);
  if (text.includes("Content-Type: text/html")) return `${cache} ${status}`;
  const [length] = /^Content-(?:Range|Length): .*(?=\r$)/m.exec(text) ?? [];
  return [cache, status, length, text.slice(text.indexOf("\r\n\r\n") + 4)].join(" ");
}

for (const protocol of PROTOCOLS) {
  test(`${protocol}: answers are kept, and applications asked, as by nginx`, { skip: have("nginx") }, async (t) => {
    const [ours, theirs] = [await application(t, protocol), await application(t, protocol)];
    const holdfast = await startHoldfast(t, { config: config(protocol, ours.backend) });
    const nginx = await startNginx(t, { config: config(protocol, theirs.backend) });
    for (const each of REQUESTS) {
      assert.deepEqual(await ask(holdfast, each), await ask(nginx, each), each.join(" "));
      assert.deepEqual(ours.asked, theirs.asked, each.join(" "));
    }
  });
}

for (const protocol of PROTOCOLS) {
  test(`${protocol}: what was announced to HEAD and did not come is not kept`, async (t) => {
    const { backend } = await application(t, protocol);
    const holdfast = await startHoldfast(t, { config: config(protocol, backend) });
    assert.equal(await ask(holdfast, ["HEAD /head"]), "MISS 200 Content-Length: 8 ");
    assert.equal(await ask(holdfast, ["GET /head"]), "MISS 200 Content-Length: 8 answer 2");
    assert.equal(await ask(holdfast, ["GET /head"]), "HIT 200 Content-Length: 8 answer 2");
  });
}
