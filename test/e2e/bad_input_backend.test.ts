/** Servers that answer garbage, nothing, half a header, more or less than they said, or for ever. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type BackendConnection, tcpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

interface Case {
  readonly name: string;
  /** What the server does after the request's header. */
  readonly answer: (connection: BackendConnection) => void | Promise<void>;
  readonly status: number;
  /** The body that comes, where it is not an error page. */
  readonly body?: string;
  /** The response is cut: the client must be able to tell. */
  readonly cut?: boolean;
  readonly log?: RegExp;
  /** On a connection that has carried no other answer: nothing but that may be taken for HTTP/0.9. */
  readonly fresh?: true;
  /** It is waited for until proxy_read_timeout. */
  readonly late?: true;
  /** nginx 1.22 does something else. */
  readonly nginx?: false;
}

const says =
  (...texts: string[]) =>
  (connection: BackendConnection): void => {
    for (const text of texts) connection.write(text);
    connection.end();
  };
const OK = "HTTP/1.1 200 OK\r\n";

const CASES: readonly Case[] = [
  {
    name: "nothing",
    answer: says(),
    status: 502,
    log: /upstream prematurely closed connection while reading response header from upstream/,
  },
  {
    name: "a reset",
    answer: (connection) => connection.reset(),
    status: 502,
    log: /recv\(\) failed \(104: Connection reset by peer\) while reading response header from upstream/,
  },
  {
    name: "silence",
    late: true,
    answer: () => {},
    status: 504,
    log: /upstream timed out \(110: Connection timed out\) while reading response header from upstream/,
  },
  {
    name: "half a status line",
    answer: says("HTTP/1.1 20"),
    status: 502,
    log: /upstream prematurely closed connection while reading response header/,
  },
  {
    name: "half a header",
    answer: says(`${OK}Content-Le`),
    status: 502,
    log: /upstream prematurely closed connection while reading response header/,
  },
  {
    name: "half a header, then silence",
    late: true,
    answer: (connection) => connection.write(`${OK}Content-Le`),
    status: 504,
    log: /upstream timed out/,
  },
  {
    name: "random bytes after a status line",
    answer: says(`${OK}\x00\xff\x01\x02: \r\n\r\n`),
    status: 502,
    log: /upstream sent invalid header/,
  },
  {
    name: "a header too big",
    answer: says(`${OK}X: ${"x".repeat(70_000)}\r\n\r\n`),
    status: 502,
    log: /upstream sent too big header/,
  },
  {
    name: "fields without a status line",
    answer: says(`X: ${"y".repeat(4096)}\r\n`.repeat(64)),
    status: 0,
    cut: true,
    fresh: true,
    nginx: false,
  },
  {
    name: "fields without a status line, on a connection that has carried an answer",
    answer: says(`X: ${"y".repeat(4096)}\r\n`.repeat(64)),
    status: 502,
    log: /upstream sent no valid HTTP\/1.0 header/,
    nginx: false,
  },
  {
    name: "a header without end, after a status line",
    async answer(connection) {
      connection.write(OK);
      while (!connection.ended && connection.socket.writable) {
        if (!connection.socket.write(`X: ${"y".repeat(4096)}\r\n`))
          await new Promise((resolve) => connection.socket.once("drain", resolve).once("close", resolve));
      }
    },
    status: 502,
    log: /upstream sent too big header/,
  },
  {
    name: "two lengths",
    answer: says(`${OK}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`),
    status: 502,
    log: /upstream sent duplicate header line: "Content-Length: 6", previous value: "Content-Length: 5"/,
    nginx: false,
  },
  {
    name: "a length that is no number",
    answer: says(`${OK}Content-Length: 5x\r\n\r\nhello`),
    status: 502,
    log: /upstream sent invalid "Content-Length" header: "Content-Length: 5x"/,
    nginx: false,
  },
  {
    name: "a length and chunks",
    answer: says(`${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`),
    status: 502,
    log: /upstream sent "Content-Length" and "Transfer-Encoding" headers at the same time/,
    nginx: false,
  },
  {
    name: "an unknown encoding",
    answer: says(`${OK}Transfer-Encoding: smoke\r\n\r\nhello`),
    status: 502,
    log: /upstream sent unknown "Transfer-Encoding": "smoke"/,
    nginx: false,
  },
  { name: "a status that is none", answer: says("HTTP/1.1 abc OK\r\n\r\nhello"), status: 0, fresh: true, nginx: false },
  {
    name: "no HTTP at all, in two pieces",
    answer: async (connection) => {
      connection.write("HTTP");
      await new Promise((resolve) => setTimeout(resolve, 50));
      connection.write("\r\n\r\nhello");
      connection.end();
    },
    status: 0,
    body: "hello",
    fresh: true,
    nginx: false,
  },
  { name: "no HTTP at all", answer: says("SSH-2.0-OpenSSH_9.2\r\n"), status: 0, cut: true, fresh: true, nginx: false },
  {
    name: "less than it said",
    answer: says(`${OK}Content-Length: 10\r\n\r\nhello`),
    status: 200,
    body: "hello",
    cut: true,
    log: /upstream prematurely closed connection while reading upstream/,
  },
  {
    name: "a chunk less",
    answer: says(`${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`),
    status: 200,
    body: "hello",
    cut: true,
    log: /upstream prematurely closed connection while reading upstream/,
  },
  {
    name: "less than it said, then silence",
    late: true,
    answer: (connection) => connection.write(`${OK}Content-Length: 10\r\n\r\nhello`),
    status: 200,
    body: "hello",
    cut: true,
    log: /upstream timed out \(110: Connection timed out\) while reading upstream/,
  },
  {
    name: "more than it said",
    answer: says(`${OK}Content-Length: 5\r\n\r\nhello${OK}Content-Length: 4\r\n\r\nevil`),
    status: 200,
    body: "hello",
    log: /upstream sent more data than specified in "Content-Length" header while reading upstream/,
  },
  {
    name: "more after the last chunk",
    answer: says(`${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n${OK}Content-Length: 4\r\n\r\nevil`),
    status: 200,
    body: "hello",
    log: /upstream sent data after final chunk while reading upstream/,
  },
  {
    name: "a broken chunk",
    answer: says(`${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n`),
    status: 0,
    cut: true,
    log: /upstream sent invalid chunked response while reading upstream/,
  },
  {
    name: "a broken first chunk",
    answer: says(`${OK}Transfer-Encoding: chunked\r\n\r\nzz\r\nhello`),
    status: 0,
    cut: true,
    log: /upstream sent invalid chunked response while reading upstream/,
  },
  { name: "a body where there is none", answer: says(`HTTP/1.1 204 No Content\r\n\r\nhello`), status: 204, body: "" },
  {
    name: "many interim answers, then one",
    answer: says("HTTP/1.1 100 Continue\r\n\r\n".repeat(50), `${OK}Content-Length: 5\r\n\r\nhello`),
    status: 200,
    body: "hello",
    nginx: false,
  },
  {
    name: "a reset within the body",
    async answer(connection) {
      connection.write(`${OK}Content-Length: 10\r\n\r\nhello`);
      await waitFor(() => connection.socket.writableLength === 0);
      await new Promise((resolve) => setTimeout(resolve, 30));
      connection.reset();
    },
    status: 200,
    body: "hello",
    cut: true,
    log: /(recv|readv)\(\) failed \(104: Connection reset by peer\) while reading upstream/,
  },
];

async function start(t: TestContext, run: typeof startHoldfast | typeof startNginx): Promise<Running> {
  const backend = await tcpBackend(t, async (connection) => {
    for (;;) {
      const head = await connection.readHeader();
      if (head === undefined) return;
      const number = Number(/^GET \/(?:fresh\/|late\/)?(\d+) /.exec(head)?.[1]);
      if (CASES[number] === undefined) connection.write(`${OK}Content-Length: 4\r\n\r\ngood`);
      else await CASES[number].answer(connection);
    }
  });
  return run(t, {
    config: ([port]) => `http {
      upstream behind { server ${backend.address} max_fails=0; keepalive 4; }
      server {
        listen 127.0.0.1:${port};
        location /fresh/ { proxy_pass http://${backend.address}; proxy_http_version 1.0; proxy_set_header Connection close; }
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        location / { proxy_pass http://behind; }
        location /late/ { proxy_pass http://behind; proxy_read_timeout 200ms; }
      }
    }`,
  });
}

/** Status, body, and whether the client can see that the answer was cut. */
async function ask(port: number, path: string): Promise<{ status: number; body: string; cut: boolean }> {
  const connection = await RawConnection.open(port);
  connection.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
  try {
    const { status, body } = await connection.readResponse();
    return { status, body, cut: false };
  } catch {
    await connection.until(() => false);
    const [head, ...rest] = connection.received.split("\r\n\r\n");
    const status = Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1] ?? 0);
    const body = rest.join("\r\n\r\n");
    return { status, body: /chunked/i.test(head) ? unchunked(body) : body, cut: true };
  } finally {
    connection.close();
  }
}

/** As much of a chunked body as came. */
function unchunked(body: string): string {
  let text = "";
  for (let rest = body; ; ) {
    const line = /^([0-9a-f]+)\r\n/.exec(rest);
    if (line === null) return text;
    const size = Number.parseInt(line[1], 16);
    text += rest.slice(line[0].length, line[0].length + size);
    rest = rest.slice(line[0].length + size + 2);
  }
}

for (const [name, run, skip] of [
  ["Holdfast", startHoldfast, false],
  ["a real nginx", startNginx, have("nginx")],
] as const) {
  test(`what servers may do wrong, with ${name}`, { skip }, async (t) => {
    const program = await start(t, run);
    for (const [number, { name: what, status, body, cut = false, log, fresh, late, nginx }] of CASES.entries()) {
      if (run === startNginx && nginx === false) continue;
      await t.test(what, async () => {
        const from = program.errorLog().length;
        const way = fresh ? "fresh/" : late ? "late/" : "";
        const got = await ask(program.port, `/${way}${number}`);
        assert.equal(got.status, status);
        assert.equal(got.cut, cut, "cut");
        // nginx keeps a short body in its buffers.
        if (body !== undefined && !(cut && run === startNginx)) assert.equal(got.body, body);
        if (log !== undefined)
          await waitFor(
            () => log.test(program.errorLog().slice(from)),
            () => `${log} in ${program.errorLog().slice(from)}`,
          );
        // Nothing else is lost, and what was too much answers nobody else's request.
        assert.deepEqual(await ask(program.port, "/good"), { status: 200, body: "good", cut: false });
      });
    }
    assert.doesNotMatch(program.errorLog(), /\[(alert|emerg|crit)\]/);
  });
}

test("a server that answers for ever is read no faster than the client reads, and left when it goes", async (t) => {
  let sent = 0;
  let gone = false;
  const chunk = "x".repeat(65_536);
  const backend = await tcpBackend(t, async (connection) => {
    if ((await connection.readHeader()) === undefined) return;
    connection.write(`${OK}\r\n`);
    connection.socket.on("close", () => {
      gone = true;
    });
    while (!connection.socket.destroyed) {
      sent += chunk.length;
      if (connection.socket.write(chunk)) continue;
      await new Promise((resolve) => connection.socket.once("drain", resolve).once("close", resolve));
    }
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server { listen 127.0.0.1:${port}; send_timeout 5s;
      location / { proxy_pass http://${backend.address}; proxy_max_temp_file_size 0; } } }`,
  });
  const connection = await RawConnection.open(holdfast.port);
  connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await connection.until((received) => received.length > 100_000);
  connection.socket.pause();
  // What it sends ends up in buffers of the system, and then stops.
  let last = -1;
  await waitFor(async () => {
    const same = sent === last;
    last = sent;
    await new Promise((resolve) => setTimeout(resolve, 150));
    return same && sent === last;
  }, "the server to be held back");
  assert.ok(sent < 64 * 1024 * 1024, `${sent} bytes`);
  connection.close();
  await waitFor(() => gone, "the server's connection to be closed");
});
