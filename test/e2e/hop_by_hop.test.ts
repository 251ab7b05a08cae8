import assert from "node:assert/strict";
import { test } from "node:test";
import { type BackendConnection, tcpBackend } from "../support/backend.ts";
import { runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection } from "../support/tcp.ts";

/** What belongs to one hop never travels, in any kind of message; what frames a message is written anew. */

const HOP = [
  "Connection: keep-alive, X-Hop, close",
  "X-Hop: 1",
  "Keep-Alive: timeout=7",
  "Proxy-Connection: keep-alive",
  "TE: trailers",
  "Upgrade: foo/2",
];

/** What the client gets whole, until the connection closes. */
async function exchange(port: number, path: string, ...fields: string[]): Promise<string> {
  const connection = await RawConnection.open(port);
  try {
    connection.write([`GET ${path} HTTP/1.1`, "Host: a", ...fields, "", ""].join("\r\n"));
    return await connection.readAll();
  } finally {
    connection.close();
  }
}

/** The fields of the first head in a text, less those that every response of ours has. */
function fields(text: string): string[] {
  const [, ...lines] = text.slice(0, text.indexOf("\r\n\r\n")).split("\r\n");
  return lines.filter((line) => !/^(Date|Server|Host):/.test(line));
}

const lines = (...all: readonly string[]): string => `${all.join("\r\n")}\r\n\r\n`;

test("fields of a connection stay on it", async (t) => {
  let request = "";
  const backend = await tcpBackend(t, async (connection) => {
    request = (await connection.readHeader()) ?? "";
    if (request.startsWith("GET /101")) {
      connection.write(lines("HTTP/1.1 101 Switching", ...HOP, "Content-Length: 4", "X-End: 1"));
    } else if (request.startsWith("GET /426")) {
      connection.write(lines("HTTP/1.1 426 Upgrade Required", ...HOP, "X-End: 1", "Content-Length: 0"));
    } else if (request.startsWith("GET /trailers")) {
      const trailers = ["X-Sum: 9", "Set-Cookie: a=b", "Content-Length: 4", "Content-Type: a/b", ...HOP];
      connection.write(lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Connection: X-Named"));
      connection.write(
        `2\r\nok\r\n0\r\n${lines(...trailers, "Transfer-Encoding: chunked", "X-Named: 1", "Grpc-Status: 0")}`,
      );
    } else {
      connection.write(lines("HTTP/1.1 103 Early Hints", ...HOP, "Content-Length: 4", "Link: </a>"));
      connection.write(lines("HTTP/1.1 103 Early Hints", ...HOP, "Transfer-Encoding: chunked", "Link: </b>"));
      connection.write(lines("HTTP/1.1 200 OK", ...HOP, "Content-Length: 2", "X-End: 1"));
      connection.write("ok");
    }
    await connection.read(() => false);
    connection.end();
  });
  const { port } = await startHoldfast(t, {
    config: ([port]) => `http { access_log off; keepalive_timeout 0; early_hints 1;
      server { listen 127.0.0.1:${port};
        location / { proxy_pass http://${backend.address}; proxy_pass_trailers on; }
        location /asked { rewrite ^ /101 break; proxy_pass http://${backend.address};
          proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } } }`,
  });

  await t.test("in requests, informational and final responses", async () => {
    const answer = await exchange(port, "/", ...HOP, "X-End: 1");
    assert.deepEqual(fields(request), ["X-End: 1"]);
    const [first, second, final] = answer.split(/(?=HTTP\/1\.1 \d)/);
    assert.equal(first, lines("HTTP/1.1 103 Early Hints", "Link: </a>"));
    assert.equal(second, lines("HTTP/1.1 103 Early Hints", "Link: </b>"));
    assert.deepEqual(fields(final), ["Content-Length: 2", "Connection: close", "Upgrade: foo/2", "X-End: 1"]);
  });

  await t.test("but for the Upgrade of a final response", async () => {
    const asked = await RawConnection.open(port);
    asked.write(lines("GET /asked HTTP/1.1", "Host: a", "Connection: upgrade", "Upgrade: foo"));
    const head = await asked.until((received) => received.includes("\r\n\r\n"));
    asked.close();
    assert.deepEqual(fields(request), ["Upgrade: foo", "Connection: upgrade"]);
    assert.deepEqual(fields(head), ["Connection: upgrade", "Upgrade: foo/2", "X-End: 1"]);
    assert.deepEqual(fields(await exchange(port, "/101")), ["Connection: upgrade", "Upgrade: foo/2", "X-End: 1"]);
    const required = fields(await exchange(port, "/426"));
    assert.deepEqual(required, ["Content-Length: 0", "Connection: close", "Upgrade: foo/2", "X-End: 1"]);
  });

  await t.test("nor does a trailer frame, set a cookie or change the content's type", async () => {
    const answer = await exchange(port, "/trailers", "TE: trailers");
    assert.match(answer, /\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 9\r\nX-Hop: 1\r\nGrpc-Status: 0\r\n\r\n$/);
  });
});

test("add_header and add_trailer set no framing, and a warning says so", async (t) => {
  const config = ([port]: readonly number[]) => `http { access_log off;
    add_header Content-Length 3 always; add_header Transfer-Encoding: chunked; add_header X-End 1;
    add_trailer content-length 3; add_trailer X-Sum 9;
    server { listen 127.0.0.1:${port}; location / { return 200 ok; } location /not { return 404; } } }`;
  const { port } = await startHoldfast(t, { config });
  const answer = await exchange(port, "/", "Connection: close");
  assert.deepEqual(
    fields(answer).filter((line) => !line.startsWith("Content-Type")),
    ["Transfer-Encoding: chunked", "Connection: close", "X-End: 1"],
  );
  assert.match(answer, /\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 9\r\n\r\n$/);
  const missing = await get(port, "/not");
  assert.equal(missing.headers.filter(([name]) => name.startsWith("content-length")).length, 1);

  const { stderr } = await runHoldfast(t, { config, args: ["-t"] });
  const sentence = /\[warn\].*"add_header Content-Length" is ignored, the framing of a body is always its own in .*:2/;
  assert.match(stderr, sentence);
});

/** What a broken server says, and whether it said something valid before on the same connection. */
const BROKEN: Readonly<Record<string, string>> = {
  "100 with a body": "HTTP/1.1 100 Continue\r\nContent-Length: 4\r\n\r\nabcdHTTP/1.1 200 OK\r\n\r\n",
  "199 and garbage": "HTTP/1.1 199 Odd\r\n\r\ngarbage\r\n\r\n",
  "103 and garbage": "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\0\x01\x02",
  "status 000": "HTTP/1.1 000 Nothing\r\n\r\nabcd",
  "status 099": "HTTP/1.1 099 Little\r\nContent-Length: 4\r\n\r\nabcd",
  "103 without end": "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(2000),
  "100 without end": "HTTP/1.1 100 Continue\r\n\r\n".repeat(2000),
};

test("garbage behind a valid head is no answer, and informational answers have an end", async (t) => {
  const names = Object.keys(BROKEN);
  const answer = async (connection: BackendConnection): Promise<void> => {
    for (let head = await connection.readHeader(); head !== undefined; head = await connection.readHeader()) {
      const path = /^GET \/(\w+)/.exec(head)?.[1] ?? "";
      if (path === "good") connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      else connection.write(path === "raw" ? "raw bytes" : BROKEN[names[Number(path)]]);
      if (path !== "good") connection.end();
    }
  };
  const backend = await tcpBackend(t, answer);
  const running = await startHoldfast(t, {
    config: ([port]) => `http { access_log off;
      upstream kept { server ${backend.address}; keepalive 4; }
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://kept; } } }`,
  });
  const { port } = running;
  for (const [i, name] of names.entries()) {
    const { status, raw } = await get(port, `/${i}`);
    assert.equal(status, 502, name);
    assert.doesNotMatch(raw, /garbage|abcd/, name);
  }
  // A connection that has spoken HTTP/1.1 does not fall back to HTTP/0.9.
  assert.equal((await get(port, "/good")).status, 200);
  const before = backend.connections;
  assert.equal((await get(port, "/raw")).status, 502);
  assert.equal(backend.connections, before, "the connection was kept");
  await running.waitForLog(/upstream sent invalid status "000 Nothing" while reading response header/);
  await running.waitForLog(/upstream sent too many informational responses while reading response header/);
});

test("another server's early hints are not counted together with the last one's", async (t) => {
  const hints = (name: string): string => lines("HTTP/1.1 103 Early Hints", `Link: </${name}${"x".repeat(800)}>`);
  const dying = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.write(hints("one"));
    connection.end();
  });
  const good = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.write(hints("two"));
    connection.write(lines("HTTP/1.1 200 OK", "Content-Length: 0"));
  });
  const running = await startHoldfast(t, {
    config: ([port]) => `http { access_log off; keepalive_timeout 0; early_hints 1; proxy_buffer_size 1k;
      upstream two { server ${dying.address}; server ${good.address} backup; }
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://two; } } }`,
  });
  assert.match(await exchange(running.port, "/"), /<\/two[\s\S]*HTTP\/1\.1 200 OK/);
});
