import assert from "node:assert/strict";
import { test } from "node:test";
import type { Command } from "../../src/wire/memcached_server/command.ts";
import { parseCommand } from "../../src/wire/memcached_server/line.ts";
import { parseInt32, parseUint32, parseUint64 } from "../../src/wire/memcached_server/number.ts";
import { CommandReader } from "../../src/wire/memcached_server/reader.ts";
import { Chance, pieces } from "../support/mutations.ts";

/** memcached's text protocol, as a server reads it. */

function readAll(reader: CommandReader, parts: readonly (Buffer | string)[]): Command[] {
  const commands: Command[] = [];
  for (const part of parts) {
    reader.receive(Buffer.from(part));
    for (let command = reader.next(); command !== undefined; command = reader.next()) {
      commands.push(command);
      if (command.kind === "close") return commands;
    }
    reader.release();
  }
  return commands;
}

const SESSION = Buffer.from(
  "set a 5 0 3\r\nabc\r\nget a b\r\nms k 2 T5 F1 c\r\nxx\r\nmg k v t\r\nincr n 5 noreply\r\ncas a 0 100 1 77\r\nz\r\nquit\r\n",
);

test("commands are the same in whatever pieces they come", () => {
  const whole = readAll(new CommandReader(1000), [SESSION]);
  assert.deepEqual(
    whole.map(({ kind }) => kind),
    ["store", "get", "store", "mg", "arithmetic", "store", "close"],
  );
  const single = readAll(
    new CommandReader(1000),
    [...SESSION].map((byte) => Buffer.from([byte])),
  );
  assert.deepEqual(single, whole);
  for (let seed = 0; seed < 200; seed++) {
    assert.deepEqual(readAll(new CommandReader(1000), pieces(SESSION, new Chance(seed))), whole);
  }
});

test("what is too large is skipped, and not kept", () => {
  const reader = new CommandReader(10);
  const [refused, next] = readAll(reader, ["set a 0 0 11\r\n", "0123456789", "a\r\nversion\r\n"]);
  assert.deepEqual(refused, { kind: "refused", key: "a", text: "SERVER_ERROR object too large for cache" });
  assert.deepEqual(next, { kind: "reply", text: "VERSION 1.6.18" });
  assert.equal(reader.within, false);
});

test("a line without an end closes the connection, unless it asks for keys", () => {
  const reason = "client sent too long command line";
  assert.deepEqual(readAll(new CommandReader(10), ["x".repeat(2049)]), [{ kind: "close", reason }]);
  const many = `get ${"key ".repeat(1000)}`;
  const [get] = readAll(new CommandReader(10), [many, "last\r\n"]);
  assert.ok(get.kind === "get");
  assert.equal(get.keys.length, 1001);
  const endless = Array.from({ length: 300 }, () => `${"k".repeat(5000)} `);
  assert.deepEqual(readAll(new CommandReader(10), ["get ", ...endless]).at(-1), { kind: "close", reason });
});

test("other protocols are told from this one", () => {
  assert.equal(readAll(new CommandReader(10), [Buffer.from([0x80, 0, 0, 0])])[0].kind, "close");
  assert.deepEqual(parseCommand("GET / HTTP/1.1"), { kind: "close", reason: "client speaks HTTP" });
  assert.deepEqual(parseCommand("mg a Ooooooooooooooooooooooooooooooooo"), {
    kind: "reply",
    text: "CLIENT_ERROR opaque token too long",
  });
});

test("numbers are read as strtoull(3) reads them", () => {
  const cases: readonly (readonly [string, bigint | undefined, number | undefined, number | undefined])[] = [
    ["0", 0n, 0, 0],
    ["4294967296", 4294967296n, 0, 0],
    ["4294967295", 4294967295n, 4294967295, -1],
    ["18446744073709551615", 18446744073709551615n, 4294967295, undefined],
    ["18446744073709551616", undefined, undefined, undefined],
    ["-1", undefined, undefined, -1],
    ["-18446744073709551615", 1n, 1, undefined],
    ["+7", 7n, 7, 7],
    ["12 tail", 12n, 12, 12],
    ["12x", undefined, undefined, undefined],
    ["\t12", 12n, 12, 12],
    ["", undefined, undefined, undefined],
  ];
  for (const [text, uint64, uint32, int32] of cases) {
    assert.deepEqual([parseUint64(text), parseUint32(text), parseInt32(text)], [uint64, uint32, int32], text);
  }
});

test("100,000 mutated inputs neither throw nor are kept", () => {
  const mostData = 64;
  for (let seed = 0; seed < 100_000; seed++) {
    const chance = new Chance(seed);
    const reader = new CommandReader(mostData);
    const bytes = Buffer.from(SESSION);
    for (let i = chance.below(4); i >= 0; i--) bytes[chance.below(bytes.length)] = chance.below(256);
    const middle = chance.below(bytes.length);
    for (const part of [bytes.subarray(0, middle), bytes.subarray(middle)]) {
      reader.receive(part);
      for (let command = reader.next(); command !== undefined; command = reader.next()) {
        if (command.kind === "store") assert.ok(command.data.length <= mostData);
        if (command.kind === "close") break;
      }
      reader.release();
    }
  }
});
