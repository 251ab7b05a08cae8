import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { brotliDecompressSync, constants, createBrotliCompress } from "node:zlib";
import { bodyWritable, FLUSH, LAST } from "../../../../src/http/core/filters.ts";
import type { Request } from "../../../../src/http/core/request.ts";
import { ThreadedFilter } from "../../../../src/http/modules/compression/threaded_filter.ts";
import { waitFor } from "../../../support/wait.ts";

test("a flush comes behind the bytes that it is for, also where the client takes no more meanwhile", async () => {
  const passed: { readonly bytes: Buffer; readonly flags: number }[] = [];
  const exchange = {
    blocked: false,
    /** As a client's whose socket is full with the first bytes. */
    sendBody(_request: Request, bytes: Uint8Array | string, flags: number): boolean {
      passed.push({ bytes: Buffer.from(bytes as Uint8Array), flags });
      if (passed.length === 1) exchange.blocked = true;
      return !exchange.blocked;
    },
  };
  const request = {
    exchange,
    connection: { closed: false },
    bodyFilters: [] as unknown[],
    buffered: 0,
    finalized: false,
    cleanup: undefined as (() => void)[] | undefined,
  };
  const asked = request as unknown as Request;
  const stream = createBrotliCompress({ chunkSize: 1024, params: { [constants.BROTLI_PARAM_QUALITY]: 1 } });
  const filter = new ThreadedFilter(asked, () => stream);
  request.bodyFilters.push(filter);
  const body = randomBytes(10_000);
  assert.equal(filter.push(asked, body, FLUSH, 1), false);
  // All of it is compressed, and waits behind what the client has.
  await waitFor(() => stream.readableLength > 10_000 - 1024 && stream.writableLength === 0, "the compressed bytes");
  await new Promise((turn) => setImmediate(turn));
  exchange.blocked = false;
  bodyWritable(asked);
  const bytes = () => passed.reduce((sum, piece) => sum + piece.bytes.length, 0);
  await waitFor(() => bytes() >= body.length && passed.some(({ flags }) => flags === FLUSH), "the bytes and the flush");
  const behind = passed.slice(passed.findIndex(({ flags }) => flags === FLUSH) + 1);
  assert.deepEqual(behind, [], "nothing of what was flushed comes later");
  await waitFor(() => (request.buffered & (1 << filter.place)) === 0, "the filter's wish for more");
  filter.push(asked, "", LAST, 1);
  await waitFor(() => passed.at(-1)?.flags === LAST, "the end");
  assert.deepEqual(brotliDecompressSync(Buffer.concat(passed.map(({ bytes }) => bytes))), body);
  for (const clean of request.cleanup ?? []) clean();
});
