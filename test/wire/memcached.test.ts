import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DATA, HEAD, INVALID, LAST, MORE, OVER } from "../../src/wire/http1/response_reader.ts";
import { getCommand, MemcachedReader } from "../../src/wire/memcached.ts";
import { everySplit } from "../support/splits.ts";

test("a key's control characters, spaces and per cents are escaped", () => {
  assert.equal(getCommand("/a b%\r\n\x7f\xff?c"), "get /a%20b%25%0D%0A\x7f\xff?c\r\n");
});

/** What an answer to `get /a` was read as. */
interface Read {
  status: number;
  error: string;
  body: string;
  whole: boolean;
  reusable: boolean;
  said: string[];
}

/** Reads an answer in pieces, each of which is written over afterwards, as a connection does. */
function read(answer: string, cuts: readonly number[], bufferSize = 64): Read {
  const said: string[] = [];
  const reader = new MemcachedReader(2, (level, sentence) => said.push(`${level} ${sentence}`));
  reader.begin(bufferSize);
  reader.expect(getCommand("/a"));
  let inBody = false;
  let body = "";
  let from = 0;
  for (const to of [...cuts, answer.length]) {
    const bytes = Buffer.from(answer.slice(from, to), "latin1");
    from = to;
    let at = 0;
    if (!inBody) {
      const code = reader.readHead(bytes, 0);
      if (code === INVALID) break;
      if (code === MORE) continue;
      assert.equal(code, HEAD);
      inBody = true;
      at = reader.pos;
      reader.frame(false, at < bytes.length);
    }
    while (at < bytes.length && !reader.whole) {
      const code = reader.readBody(bytes, at);
      if (code === DATA || code === LAST) body += bytes.latin1Slice(reader.dataStart, reader.dataEnd);
      assert.ok([DATA, LAST, MORE, OVER].includes(code));
      if (code !== DATA) break;
      assert.ok(reader.pos > at);
      at = reader.pos;
    }
    bytes.fill("X");
    if (reader.whole) break;
  }
  const { head, error, whole, reusable } = reader;
  return { status: head.status, error, body, whole, reusable, said };
}

test("values and misses, at every split", () => {
  for (const [answer, expected] of [
    ["VALUE /a 0 5\r\nvalue\r\nEND\r\n", [200, "value", true, true]],
    ["VALUE /a 0 0\r\n\r\nEND\r\n", [200, "", true, true]],
    ["VALUE /a 0 2\r\n\r\n\r\nEND\r\n", [200, "\r\n", true, true]],
    ["VALUE /a 0 5\r\nvalue\r\nEND\r", [200, "value", false, false]],
    ["VALUE /a 0 5\r\nvalue\r\nEXD\r\n", [200, "value", true, false]],
    ["END\r\n", [404, "", true, true]],
  ] as const) {
    for (const cuts of everySplit(Buffer.from(answer))) {
      const { status, body, whole, reusable } = read(answer, cuts);
      assert.deepEqual([status, body, whole, reusable], expected, `${answer} ${cuts}`);
    }
  }
});

test("a line has to fit in the buffer with its line feed", () => {
  const line = "VALUE /a 0 5\r\n";
  assert.equal(read(`${line}value\r\nEND\r\n`, [], line.length).error, "");
  for (const cuts of everySplit(Buffer.from(line)))
    assert.equal(read(line, cuts, line.length - 1).error, "upstream sent too big header");
});

test("any bytes: ends, throws nothing, same head in any pieces", () => {
  const token = fc.constantFrom("VALUE ", "/a", " ", "0", "5", "\r\n", "\n", "\r", "END", "\0", "value", "99999999999");
  fc.assert(
    fc.property(fc.array(token, { maxLength: 16 }), fc.array(fc.nat(60), { maxLength: 4 }), (tokens, places) => {
      const answer = tokens.join("");
      const cuts = [...new Set(places)].filter((at) => at > 0 && at < answer.length).sort((a, b) => a - b);
      const [{ status, error }, whole] = [read(answer, cuts), read(answer, [])];
      assert.deepEqual([status, error], [whole.status, whole.error]);
    }),
    { numRuns: 3000 },
  );
});
