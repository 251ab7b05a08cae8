/** What frames mean, read by other code than the program's: what a server has answered on each stream, and whether what it was sent is right. */
import assert from "node:assert/strict";
import * as h2 from "../../src/wire/h2/frames.ts";
import { HpackDecoder } from "../../src/wire/h2/hpack_decoder.ts";

interface Meant {
  /** The data of its DATA frames, as far as it has come. */
  readonly data: Buffer[];
  /** How long the data was when the server ended the stream. */
  length: number | undefined;
  status: number;
}

const { END_STREAM, END_HEADERS, PADDED, PRIORITY } = h2.FLAG;

/** What each stream of a connection carries, by the bytes alone. Where they break the protocol, no more than that has to arrive. */
export class MeantAnswers {
  /** How much the server takes at most on all streams together, on a new one, and how much further on one of them. */
  window = h2.DEFAULT_WINDOW;
  initialWindow = h2.DEFAULT_WINDOW;
  readonly windows = new Map<number, number>();
  /** Streams that have ended on both sides, before anybody gave them up. */
  readonly over = new Set<number>();
  /** They are as a server has made them, which does keep to the protocol. */
  readonly right: boolean;
  readonly #streams = new Map<number, Meant>();

  constructor(bytes: Buffer, right: boolean) {
    this.right = right;
    let block: { readonly id: number; readonly ends: boolean; readonly parts: Buffer[] } | undefined;
    for (let at = 0; at + h2.FRAME_HEAD <= bytes.length; ) {
      const length = bytes.readUIntBE(at, 3);
      const [type, flags] = bytes.subarray(at + 3, at + 5);
      const id = bytes.readUInt32BE(at + 5) & h2.MAX_WINDOW;
      let payload = bytes.subarray(at + h2.FRAME_HEAD, at + h2.FRAME_HEAD + length);
      const whole = payload.length === length;
      at += h2.FRAME_HEAD + length;
      if ((type === h2.DATA || type === h2.HEADERS) && (flags & PADDED) !== 0) {
        const [padding = 0] = payload;
        payload = payload.subarray(1, Math.max(1, length - padding));
      }
      if (type === h2.DATA) {
        const stream = this.#of(id);
        if (stream.length !== undefined) continue;
        stream.data.push(payload);
        if (whole && (flags & END_STREAM) !== 0) stream.length = lengthOf(stream.data);
      } else if (type === h2.HEADERS) {
        if ((flags & PRIORITY) !== 0) payload = payload.subarray(5);
        block = { id, ends: (flags & END_STREAM) !== 0, parts: [payload] };
      } else if (type === h2.CONTINUATION) {
        block?.parts.push(payload);
      } else if (whole && type === h2.WINDOW_UPDATE && length === 4) {
        const increment = payload.readUInt32BE(0) & h2.MAX_WINDOW;
        if (id === 0) this.window += increment;
        else this.windows.set(id, (this.windows.get(id) ?? 0) + increment);
      } else if (whole && type === h2.SETTINGS && (flags & h2.FLAG.ACK) === 0) {
        for (let setting = 0; setting + 6 <= length; setting += 6) {
          if (payload.readUInt16BE(setting) !== h2.SETTING.INITIAL_WINDOW_SIZE) continue;
          this.initialWindow = Math.max(this.initialWindow, payload.readUInt32BE(setting + 2));
        }
      }
      if ((type === h2.HEADERS || type === h2.CONTINUATION) && (flags & END_HEADERS) !== 0 && block !== undefined) {
        this.#takeHead(block.id, block.ends, Buffer.concat(block.parts));
        block = undefined;
      }
    }
  }

  /** The user of a stream has got this. `whole`: it took it for the whole answer. */
  check(id: number, status: number, body: Buffer, whole: boolean, bodiless: boolean): void {
    const stream = this.#of(id);
    assert.equal(status, stream.status, `the status on stream ${id}`);
    const data = Buffer.concat(stream.data);
    assert.ok(body.equals(data.subarray(0, body.length)), `${body.length} bytes of another stream on ${id}`);
    if (whole && !bodiless) assert.equal(body.length, stream.length, `the length of the answer on ${id}`);
  }

  #takeHead(id: number, ends: boolean, block: Buffer): void {
    const stream = this.#of(id);
    if (stream.length !== undefined) return;
    const decoder = new HpackDecoder(0);
    decoder.decode(block, { field: 1 << 20, all: 1 << 20 });
    const status = Number(/^:status: (\d{3})\r\n/.exec(decoder.lines.latin1Slice(0, decoder.length))?.[1] ?? 0);
    if (stream.status < 200) stream.status = status;
    if (ends) stream.length = lengthOf(stream.data);
  }

  #of(id: number): Meant {
    let stream = this.#streams.get(id);
    if (stream === undefined) {
      stream = { data: [], length: undefined, status: 0 };
      this.#streams.set(id, stream);
    }
    return stream;
  }
}

function lengthOf(parts: readonly Buffer[]): number {
  return parts.reduce((length, part) => length + part.length, 0);
}

/**
 * What a server was sent until its connection was closed: the preface and frames, streams in order, nothing on one that has ended
 * or was reset, and no more data than `meant` has windows for.
 */
export function checkSent(bytes: Buffer, meant: MeantAnswers): void {
  if (bytes.length === 0) return;
  assert.equal(bytes.latin1Slice(0, h2.PREFACE.length), h2.PREFACE);
  const open = new Set<number>();
  const data = new Map<number, number>();
  let all = 0;
  let last = -1;
  let within = 0;
  for (let at = h2.PREFACE.length; at + h2.FRAME_HEAD <= bytes.length; ) {
    const length = bytes.readUIntBE(at, 3);
    const [type, flags] = bytes.subarray(at + 3, at + 5);
    const id = bytes.readUInt32BE(at + 5);
    at += h2.FRAME_HEAD + length;
    assert.ok(length <= h2.DEFAULT_FRAME_SIZE, `a frame of ${length} bytes`);
    assert.equal(type === h2.CONTINUATION ? id : 0, within, "CONTINUATION");
    within = 0;
    switch (type) {
      case h2.HEADERS:
        assert.equal(id, last + 2);
        last = id;
        open.add(id);
        break;
      case h2.DATA:
        assert.ok(open.has(id), `DATA on stream ${id}`);
        all += length;
        data.set(id, (data.get(id) ?? 0) + length);
        break;
      case h2.RST_STREAM:
        assert.ok(id % 2 === 1 && id <= last && !meant.over.has(id), `a reset of stream ${id}`);
        open.delete(id);
        break;
      case h2.WINDOW_UPDATE:
        assert.ok(id === 0 || id <= last, `a window of stream ${id}`);
        break;
      case h2.CONTINUATION:
      case h2.SETTINGS:
      case h2.PING:
        break;
      case h2.GOAWAY:
        assert.equal(at, bytes.length, "something behind GOAWAY");
        break;
      default:
        assert.fail(`a frame of type ${type}`);
    }
    if ((type === h2.HEADERS || type === h2.CONTINUATION) && (flags & END_HEADERS) === 0) within = id;
    if ((type === h2.HEADERS || type === h2.DATA) && (flags & END_STREAM) !== 0) open.delete(id);
  }
  assert.ok(all <= meant.window, `${all} bytes of data, of ${meant.window}`);
  for (const [id, length] of data) {
    const most = meant.initialWindow + (meant.windows.get(id) ?? 0);
    assert.ok(length <= most, `${length} bytes of data on ${id}, of ${most}`);
  }
}
