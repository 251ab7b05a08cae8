/** A server that keeps what it was sent, and reads it strictly. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { type Backend, tcpBackend } from "./backend.ts";

/** All that a server got on one connection, as requests read strictly: CRLF, one framing. Throws where it is anything else. */
export function requestsOf(stream: string): string[] {
  const requests: string[] = [];
  for (let at = 0; at < stream.length; ) {
    const end = stream.indexOf("\r\n\r\n", at);
    assert.ok(end >= 0, `a header without an end: ${JSON.stringify(stream.slice(at))}`);
    const head = stream.slice(at, end);
    assert.doesNotMatch(head, /\r(?!\n)|(?<!\r)\n|\0/, "a line end or NUL was passed on");
    const [line, ...fields] = head.split("\r\n");
    const [method, path, version, ...more] = line.split(" ");
    assert.match(version, /^HTTP\/1\.[01]$/);
    assert.equal(more.length, 0, line);
    for (const field of fields) assert.match(field, /^[!#$%&'*+.^_`|~0-9A-Za-z-]+:(?: |$)/);
    const lengths = fields.filter((field) => /^content-length:/i.test(field));
    const encodings = fields.filter((field) => /^transfer-encoding:/i.test(field));
    assert.ok(lengths.length + encodings.length <= 1, head);
    at = end + 4;
    let body = "";
    if (encodings.length > 0) {
      for (let size = -1; size !== 0; ) {
        const row = /^([0-9a-f]+)\r\n/.exec(stream.slice(at));
        assert.ok(row !== null, `no chunk: ${JSON.stringify(stream.slice(at))}`);
        size = Number.parseInt(row[1], 16);
        at += row[0].length;
        body += stream.slice(at, at + size);
        assert.equal(stream.slice(at + size, at + size + 2), "\r\n");
        at += size + 2;
      }
    } else if (lengths.length > 0) {
      const size = Number(lengths[0].slice(15));
      body = stream.slice(at, at + size);
      assert.equal(body.length, size, "a body cut short was passed on as whole");
      at += size;
    }
    requests.push(`${method} ${path} ${body}`);
  }
  return requests;
}

/** Answers every request at once, and keeps what each connection brought. */
export async function recorder(t: TestContext): Promise<{ readonly backend: Backend; readonly streams: string[] }> {
  const streams: string[] = [];
  const backend = await tcpBackend(t, async (connection) => {
    const index = streams.push("") - 1;
    let seen = 0;
    for (;;) {
      const bytes = await connection.read();
      if (bytes === undefined) return;
      streams[index] += bytes;
      let whole: string[];
      try {
        whole = requestsOf(streams[index]);
      } catch {
        continue; // Not all of it has come, or it is wrong: the test looks.
      }
      for (; seen < whole.length; seen++) connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
  });
  return { backend, streams };
}
