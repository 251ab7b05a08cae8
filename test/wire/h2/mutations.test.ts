/** Changed frames through the codec: no exception, the same in any pieces, nothing of HTTP/1 in them, and memory that stays. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { BAD_NAME, BAD_VALUE } from "../../../src/wire/h2/field_table.ts";
import { type FrameHandler, FrameReader } from "../../../src/wire/h2/frame_reader.ts";
import * as h2 from "../../../src/wire/h2/frames.ts";
import { HpackDecoder } from "../../../src/wire/h2/hpack_decoder.ts";
import { encodeField } from "../../../src/wire/h2/hpack_encoder.ts";
import { H2RequestHead } from "../../../src/wire/h2/request_head.ts";
import { SPAN } from "../../../src/wire/http1/field_scan.ts";
import { changedFrames, frameBytes, otherFrames, recordedFrames } from "../../support/h2_mutations.ts";
import { Chance, pieces } from "../../support/mutations.ts";
import { LIMITS } from "../http1/limits.ts";

const MUTATIONS = Number(process.env.HOLDFAST_CHAOS_MUTATIONS ?? 30_000);
const SEED = Number(process.env.HOLDFAST_CHAOS_SEED ?? 1);
const PREFACE = Buffer.from(h2.PREFACE, "latin1");
const BLOCK = { field: LIMITS.largeBufferSize, all: LIMITS.largeBuffers * LIMITS.largeBufferSize };
const MOST_BLOCK = 2 * BLOCK.all;
const TABLE_BYTES = 4096;

/** What was told, as a number: of all events, whatever pieces DATA came in. */
class Told {
  value = 0;
  count = 0;

  note(number: number): void {
    this.value = (Math.imul(this.value, 31) + number) | 0;
    this.count++;
  }
}

/** A connection as far as the codec is concerned: it reads frames, and makes requests of header blocks. */
class Connection implements FrameHandler {
  readonly told = new Told();
  readonly outcomes: Map<string, number>;
  frames = 0;
  #reader = new FrameReader();
  #decoder = new HpackDecoder();
  #head = new H2RequestHead(LIMITS);
  #type = 0;
  #flags = 0;
  #length = 0;
  #data = 0;
  #block: Buffer[] = [];
  #blockBytes = 0;

  constructor(outcomes: Map<string, number>) {
    this.outcomes = outcomes;
  }

  read(bytes: Buffer): void {
    this.#reader.read(bytes, this);
  }

  onFrame(length: number, type: number, flags: number, stream: number): boolean {
    this.frames++;
    this.told.note(length);
    this.told.note(type * 256 + flags);
    this.told.note(stream);
    assert.ok(length >= 0 && length <= h2.MAX_FRAME_SIZE && stream >= 0 && stream <= h2.MAX_WINDOW);
    this.#type = type;
    this.#flags = flags;
    this.#length = length;
    this.#data = 0;
    return type === h2.DATA || length <= h2.DEFAULT_FRAME_SIZE || this.#over("a frame that is too large");
  }

  onPayload(payload: Buffer): boolean {
    assert.equal(payload.length, this.#length);
    for (const byte of payload.subarray(0, 32)) this.told.note(byte);
    const { END_HEADERS, PADDED, PRIORITY } = h2.FLAG;
    if (this.#type === h2.HEADERS) {
      let at = (this.#flags & PADDED) !== 0 ? 1 : 0;
      const padding = at === 1 ? (payload[0] ?? 0) : 0;
      if ((this.#flags & PRIORITY) !== 0) at += 5;
      if (at + padding > payload.length) return this.#over("padding that is too long");
      this.#block = [];
      this.#blockBytes = 0;
      return this.#take(payload.subarray(at, payload.length - padding), (this.#flags & END_HEADERS) !== 0);
    }
    if (this.#type === h2.CONTINUATION) return this.#take(payload, (this.#flags & END_HEADERS) !== 0);
    return true;
  }

  onFrameData(piece: Buffer, last: boolean): boolean {
    this.#data += piece.length;
    assert.ok(this.#data <= this.#length);
    if (last) this.told.note(this.#data);
    return true;
  }

  onBadPadding(): boolean {
    return this.#over("DATA with padding that is too long");
  }

  onBadPreface(): boolean {
    return this.#over("no preface");
  }

  #take(bytes: Buffer, whole: boolean): boolean {
    this.#blockBytes += bytes.length;
    if (this.#blockBytes > MOST_BLOCK) return this.#over("a block that is too large");
    this.#block.push(Buffer.from(bytes));
    if (!whole) return true;
    const block = Buffer.concat(this.#block);
    this.#block = [];
    this.#blockBytes = 0;
    const decoder = this.#decoder;
    const error = decoder.decode(block, BLOCK);
    if (error !== undefined) return this.#over(error.what);
    this.told.note(decoder.length);
    checkFields(decoder);
    this.#takeHead(block.length);
    return true;
  }

  #takeHead(length: number): void {
    const head = this.#head;
    head.begin(LIMITS);
    const status = head.take(this.#decoder, length);
    this.told.note(status);
    if (status === 0) checkHead(head);
    this.#outcome(status === 0 ? "a request" : head.error.replace(/".*"|\d+/gs, "…"));
    assert.ok(status === 0 || head.error !== "", `a refusal (${status}) without a sentence`);
    head.clear();
  }

  #over(outcome: string): false {
    this.#outcome(outcome);
    return false;
  }

  #outcome(outcome: string): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
  }
}

/** Positions that follow one another, in bounds that the limits set; bytes that end a line have a flag. What is written again reads the same. */
function checkFields(decoder: HpackDecoder): void {
  const { spans, lines, count } = decoder;
  let before = 0;
  let bytes = 0;
  let again = "";
  for (let at = 0; at < count * SPAN; at += SPAN) {
    const [start, nameEnd, valueStart, valueEnd, , flags] = spans.subarray(at, at + SPAN);
    assert.ok(start === before && nameEnd > start && valueStart === nameEnd + 2 && valueEnd >= valueStart);
    before = valueEnd + 2;
    bytes += nameEnd - start + valueEnd - valueStart;
    const name = lines.latin1Slice(start, nameEnd);
    const value = lines.latin1Slice(valueStart, valueEnd);
    if (/[\0\r\n]/.test(value)) assert.ok((flags & BAD_VALUE) !== 0, value);
    if (/[A-Z\0-\x20\x7f]|.:/s.test(name)) assert.ok((flags & BAD_NAME) !== 0, name);
    again += encodeField(name, value);
  }
  assert.equal(before, decoder.length);
  assert.ok(bytes <= BLOCK.all);
  const text = lines.latin1Slice(0, decoder.length);
  const other = new HpackDecoder();
  assert.equal(other.decode(Buffer.from(again, "latin1"), BLOCK), undefined);
  assert.equal(other.count, count);
  assert.equal(other.lines.latin1Slice(0, other.length), text);
}

/** Nothing in it could be taken for two requests, or for another, where it is passed on as HTTP/1. */
function checkHead({ method, rawUri, requestLine, fields: { headers, host } }: H2RequestHead): void {
  assert.match(method, /^[A-Z_-]+$/);
  assert.match(rawUri, /^[^\0-\x20]+$/);
  assert.equal(requestLine, `${method} ${rawUri} HTTP/2.0`);
  assert.notEqual(host, undefined);
  for (let at = 0; at < headers.count; at++) {
    assert.match(headers.name(at), /^[^\0-\x20:A-Z\x7f]+$/);
    assert.doesNotMatch(headers.value(at), /[\0\r\n]/);
  }
  for (const name of ["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"]) {
    assert.equal(headers.has(name), false, name);
  }
  assert.equal(headers.getAll("host").length, 1);
  assert.ok(headers.getAll("content-length").length <= 1);
}

/** The size of the entries that a decoder has kept, by asking for each. */
function tableBytes(decoder: HpackDecoder): number {
  let bytes = 0;
  for (let index = 62; ; index++) {
    const block = index < 127 ? [0x80 | index] : [0xff, index - 127];
    if (decoder.decode(Buffer.from(block), { field: 1 << 20, all: 1 << 20 }) !== undefined) return bytes;
    bytes += decoder.length - 4 + 32;
  }
}

test(`${MUTATIONS} changed frames: no exception, the same in any pieces, and memory that stays`, async (t) => {
  setFlagsFromString("--expose-gc");
  const collect: () => void = runInNewContext("gc");
  const frames = [...(await recordedFrames(t)), ...otherFrames()];
  const chance = new Chance(SEED);
  const outcomes = new Map<string, number>();
  const unseen = new Map<string, number>();
  const memory = (): number => {
    collect();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  let before = 0;
  for (let done = 0; done < MUTATIONS; ) {
    if (before === 0 && done >= MUTATIONS / 4) before = memory();
    const seed = chance.below(2 ** 31);
    const own = new Chance(seed);
    const bytes = Buffer.concat([PREFACE, ...changedFrames(frames, own).map(frameBytes)]);
    try {
      const whole = new Connection(outcomes);
      whole.read(bytes);
      const cut = new Connection(unseen);
      for (const piece of pieces(bytes, own)) cut.read(piece);
      assert.deepEqual([cut.told.value, cut.told.count], [whole.told.value, whole.told.count], "in pieces");
      done += whole.frames;
    } catch (error) {
      throw new Error(`with seed ${seed}, after ${done} frames`, { cause: error });
    }
  }
  const grown = memory() - before;
  for (const [outcome, count] of [...outcomes].toSorted((a, b) => b[1] - a[1])) t.diagnostic(`${count} × ${outcome}`);
  t.diagnostic(`${Math.round(grown / 1024)} KiB more`);
  assert.ok((outcomes.get("a request") ?? 0) > 0);
  assert.ok(grown < 4 * 1024 * 1024, `${grown} bytes more`);
});

test(`${MUTATIONS} changed header blocks on one connection: its table stays within its size`, async (t) => {
  const frames = [...(await recordedFrames(t)), ...otherFrames()].filter(({ type }) => type === h2.HEADERS);
  const chance = new Chance(SEED + 1);
  let decoder = new HpackDecoder();
  let errors = 0;
  for (let done = 0, groups = 0; done < MUTATIONS; groups++) {
    for (const { payload } of changedFrames(frames, chance)) {
      done++;
      if (decoder.decode(payload, BLOCK) === undefined) checkFields(decoder);
      else errors++;
    }
    if (groups % 16 !== 0) continue;
    assert.ok(tableBytes(decoder) <= TABLE_BYTES);
    if (chance.below(100) === 0) decoder = new HpackDecoder();
  }
  assert.ok(errors > 0 && errors < MUTATIONS);
});
