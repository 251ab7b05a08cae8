import assert from "node:assert/strict";
import { test } from "node:test";
import { mayRead, nextTurn, spend, spendSent } from "../../../src/http/files/file_turns.ts";
import type { Turn } from "../../../src/sys/turns.ts";

const PIECE = 64 * 1024;

/** Reads so many pieces, as often as it may. */
class Reader implements Turn {
  left: number;
  private readonly read: (reader: Reader) => void;

  constructor(pieces: number, read: (reader: Reader) => void) {
    this.left = pieces;
    this.read = read;
  }

  onTurn(): void {
    while (this.left > 0) {
      if (!mayRead(this)) {
        nextTurn(this);
        return;
      }
      this.left--;
      spend(PIECE);
      this.read(this);
    }
  }

  onFault(error: unknown): void {
    throw error;
  }
}

test("a turn reads a mebibyte of files at most, whoever reads, and each reader has its turn", async () => {
  let inTurn = 0;
  let most = 0;
  const order: Reader[] = [];
  const readers = Array.from(
    { length: 5 },
    () =>
      new Reader(40, (reader) => {
        most = Math.max(most, ++inTurn);
        if (order.at(-1) !== reader) order.push(reader);
      }),
  );
  for (const reader of readers) reader.onTurn();
  while (readers.some(({ left }) => left > 0)) {
    inTurn = 0;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(most, 16);
  assert.deepEqual(order.slice(0, 10), [...readers, ...readers]);
});

test("of what the kernel sends, a turn has four mebibytes", async () => {
  const reader = new Reader(0, () => {});
  await new Promise((resolve) => setImmediate(resolve));
  for (let sent = 0; sent < 4; sent++) {
    assert.equal(mayRead(reader), true);
    spendSent(1024 * 1024);
  }
  assert.equal(mayRead(reader), false);
});
