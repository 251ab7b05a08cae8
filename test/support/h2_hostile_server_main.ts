/**
 * A server of HTTP/2 that attacks its client until its input ends: `node h2_hostile_server_main.ts PORT ATTACK`. It answers each request
 * as the attack has it, and sends more on each connection as fast as that is read. Prints a line when it listens, and at the end one of JSON:
 * connections, requests, bytes sent.
 */
import { createServer, type Socket } from "node:net";
import * as h2 from "../../src/wire/h2/frames.ts";
import { encodeField } from "../../src/wire/h2/hpack_encoder.ts";
import { changedFrames, type Frame, frameBytes } from "./h2_mutations.ts";
import { Chance } from "./mutations.ts";

/** What a server sends, byte strings. */
interface Attack {
  /** Its SETTINGS. */
  readonly settings?: readonly (readonly [number, number])[];
  /** For each request on a connection. */
  readonly answer?: (stream: number) => string;
  /** Again and again on a connection that has had a request, until it is closed; `stream`: that of the last. */
  readonly more?: (stream: number) => string;
  /** How often that for a piece. */
  readonly batch?: number;
  /** Nothing is read after the first request. */
  readonly deaf?: boolean;
  /** What the log says when it has had enough, where it does. */
  readonly said?: RegExp;
}

const { END_HEADERS, END_STREAM, ACK, PADDED } = h2.FLAG;
const { INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS } = h2.SETTING;
const frame = (type: number, flags: number, stream: number, payload = ""): string =>
  h2.frameHead(payload.length, type, flags, stream) + payload;
const head = (stream: number, status: string, flags = 0, more = ""): string =>
  frame(h2.HEADERS, END_HEADERS | flags, stream, encodeField(":status", status) + more);
const whole = (stream: number): string => head(stream, "200") + frame(h2.DATA, END_STREAM, stream, "hostile");
const TOO_MANY = /upstream sent too many \w+( \w+)? frames/;

/** Frames of an answer, to be changed. */
function answerFrames(stream: number): Frame[] {
  const one = (type: number, flags: number, payload: string, on = stream): Frame => {
    return { type, flags, stream: on, payload: Buffer.from(payload, "latin1") };
  };
  return [
    one(h2.HEADERS, END_HEADERS, encodeField(":status", "103") + encodeField("link", "</a.css>")),
    one(h2.HEADERS, END_HEADERS, encodeField(":status", "200") + encodeField("content-type", "text/plain")),
    one(h2.DATA, 0, "hostile ".repeat(500)),
    one(h2.PING, 0, "12345678", 0),
    one(h2.WINDOW_UPDATE, 0, "\0\0\x10\0", 0),
    one(h2.DATA, PADDED, "\x03abc\0\0\0"),
    one(h2.SETTINGS, 0, h2.settingsFrame([[INITIAL_WINDOW_SIZE, 70_000]]).slice(9), 0),
    one(h2.HEADERS, END_HEADERS | END_STREAM, encodeField("x-sum", "1")),
    one(h2.GOAWAY, 0, "\0\0\0\x63\0\0\0\0", 0),
    one(h2.RST_STREAM, 0, "\0\0\0\x08"),
  ];
}

const chance = new Chance(Number(process.env.HOLDFAST_CHAOS_SEED ?? 1));
const changed = (stream: number): string =>
  changedFrames(answerFrames(stream), chance)
    .map((one) => frameBytes(one).latin1Slice())
    .join("");

const ATTACKS: Readonly<Record<string, Attack>> = {
  "changed frames": { answer: changed, said: /upstream sent/ },
  "changed frames, and more of them": { answer: changed, more: changed, batch: 20, said: /upstream sent/ },
  SETTINGS: { more: () => h2.settingsFrame([]), batch: 500, said: TOO_MANY },
  "SETTINGS of many entries": {
    more: () =>
      h2.settingsFrame(Array.from({ length: 2000 }, (_, i) => [INITIAL_WINDOW_SIZE, i % 2 === 0 ? 0 : 65_535])),
    said: TOO_MANY,
  },
  "SETTINGS that are acknowledged": { more: () => h2.SETTINGS_ACK, batch: 500, said: TOO_MANY },
  "SETTINGS from a server that reads nothing": {
    more: () => h2.settingsFrame([]),
    batch: 500,
    deaf: true,
    said: TOO_MANY,
  },
  PING: { more: () => frame(h2.PING, 0, 0, "12345678"), batch: 500, said: TOO_MANY },
  "PING that is acknowledged": { more: () => frame(h2.PING, ACK, 0, "12345678"), batch: 500, said: TOO_MANY },
  "frames of unknown types": { more: () => frame(0x42, 0, 0, "?"), batch: 500, said: TOO_MANY },
  "empty DATA": { answer: (id) => head(id, "200"), more: (id) => frame(h2.DATA, 0, id), batch: 500, said: TOO_MANY },
  "DATA of padding": {
    answer: (id) => head(id, "200"),
    more: (id) => frame(h2.DATA, PADDED, id, `\xff${"\0".repeat(255)}`),
    batch: 100,
    said: TOO_MANY,
  },
  "DATA of a byte": { answer: (id) => head(id, "200"), more: (id) => frame(h2.DATA, 0, id, "1"), batch: 500 },
  "DATA beyond the window": {
    answer: (id) => head(id, "200"),
    more: (id) => frame(h2.DATA, 0, id, "x".repeat(16_384)),
  },
  "DATA on a stream that is over": {
    answer: (id) => head(id, "2x0"),
    more: (id) => frame(h2.DATA, 0, id, "x".repeat(1000)),
    batch: 20,
    said: /frame for closed stream/,
  },
  "HEADERS on a stream that is over": {
    answer: (id) => head(id, "2x0"),
    more: (id) => head(id, "200"),
    batch: 500,
    said: TOO_MANY,
  },
  "empty CONTINUATION": {
    answer: (id) => frame(h2.HEADERS, 0, id, encodeField(":status", "200")),
    more: (id) => frame(h2.CONTINUATION, 0, id),
    batch: 500,
    said: /too large http2 header/,
  },
  "a head without an end": {
    answer: (id) => frame(h2.HEADERS, 0, id, encodeField(":status", "200")),
    more: (id) => frame(h2.CONTINUATION, 0, id, encodeField("name", "v".repeat(10_000))),
    said: /too large http2 header/,
  },
  RST_STREAM: { more: (id) => h2.rstStream(id, h2.ERROR.CANCEL), batch: 500, said: TOO_MANY },
  "WINDOW_UPDATE of the connection": { more: () => h2.windowUpdate(0, 1), batch: 500, said: TOO_MANY },
  "WINDOW_UPDATE of the stream": { more: (id) => h2.windowUpdate(id, 1), batch: 500, said: TOO_MANY },
  "informational answers": { more: (id) => head(id, "100"), batch: 500, said: /too many informational/ },
  "early hints": {
    more: (id) => head(id, "103", 0, encodeField("link", `</${"l".repeat(500)}.css>`)),
    batch: 50,
    said: /too many informational/,
  },
  GOAWAY: { more: () => frame(h2.GOAWAY, 0, 0, "\x7f\xff\xff\xff\0\0\0\0"), batch: 500, said: TOO_MANY },
  "header blocks that ask for a table": {
    answer: (id) =>
      frame(h2.HEADERS, END_HEADERS, id, `${encodeField(":status", "200")}\x40\x01a\x01b${"\xbe".repeat(10_000)}`),
    said: /invalid http2 table index/,
  },
  "header blocks of many fields": {
    answer: (id) =>
      frame(h2.HEADERS, END_HEADERS | END_STREAM, id, encodeField(":status", "200") + "\x00\x01a\x01b".repeat(3000)),
    said: /too large http2 header/,
  },
  "windows that never open": { settings: [[INITIAL_WINDOW_SIZE, 0]], said: /timed out/ },
  "a window of one": {
    settings: [[INITIAL_WINDOW_SIZE, 1]],
    more: (id) => h2.windowUpdate(id, 1) + h2.windowUpdate(0, 1),
    batch: 10,
  },
  "no streams any more": {
    answer: (id) => h2.settingsFrame([[MAX_CONCURRENT_STREAMS, 0]]) + whole(id),
  },
  "no streams at all": {
    settings: [[MAX_CONCURRENT_STREAMS, 0]],
    answer: (id) => h2.rstStream(id, h2.ERROR.REFUSED_STREAM),
  },
  "GOAWAY at once": { answer: () => h2.goaway(0, h2.ERROR.NO_ERROR), said: /upstream sent goaway with error 0/ },
  "GOAWAY before any request": { settings: [], answer: () => "", said: /goaway/ },
  "GOAWAY behind each answer": { answer: (id) => whole(id) + h2.goaway(id, h2.ERROR.NO_ERROR) },
  "every request refused": {
    answer: (id) => h2.rstStream(id, h2.ERROR.REFUSED_STREAM),
    said: /rejected request with error 7/,
  },
  "answers before the body, then a reset": {
    answer: (id) => whole(id) + h2.rstStream(id, h2.ERROR.NO_ERROR),
  },
  "heads without a body": { answer: (id) => head(id, "200"), said: /timed out/ },
  silence: { said: /timed out/ },
  noise: { answer: () => chance.bytes(2000).latin1Slice(), said: /upstream sent/ },
};

/** Their names, and what the log is to say. */
export const HOSTILE_SERVERS: readonly (readonly [name: string, said: RegExp | undefined])[] = Object.entries(
  ATTACKS,
).map(([name, { said }]) => [name, said]);

function serve(port: number, name: string): void {
  const { settings = [], answer = () => "", more, batch = 1, deaf } = ATTACKS[name];
  let connections = 0;
  let requests = 0;
  let bytes = 0;
  const server = createServer((socket: Socket) => {
    connections++;
    let last = 0;
    const write = (text: string): boolean => {
      bytes += text.length;
      return socket.write(Buffer.from(text, "latin1"));
    };
    const go = (): void => {
      if (more === undefined || socket.destroyed) return;
      let piece = "";
      for (let i = 0; i < batch; i++) piece += more(last);
      if (write(piece)) setImmediate(go);
      else socket.once("drain", go);
    };
    socket.on("error", () => {});
    write(h2.settingsFrame(settings));
    if (name === "GOAWAY before any request") write(h2.goaway(0, h2.ERROR.NO_ERROR));
    readFrames(socket, (type, stream) => {
      if (type !== h2.HEADERS) return;
      requests++;
      const first = last === 0;
      last = stream;
      write(answer(stream));
      if (!first) return;
      if (deaf === true) socket.pause();
      go();
    });
  });
  server.listen(port, "127.0.0.1", () => console.log("listens"));
  process.stdin.resume().on("end", () => {
    console.log(JSON.stringify({ connections, requests, bytes }));
    process.exit(0);
  });
}

/** Tells of each frame whose head has come. */
function readFrames(socket: Socket, tell: (type: number, stream: number) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  let skip = h2.PREFACE.length;
  socket.on("data", (piece: Buffer) => {
    let bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    for (;;) {
      const skipped = Math.min(skip, bytes.length);
      skip -= skipped;
      bytes = bytes.subarray(skipped);
      if (bytes.length < h2.FRAME_HEAD) break;
      skip = h2.FRAME_HEAD + bytes.readUIntBE(0, 3);
      tell(bytes[3], bytes.readUInt32BE(5));
    }
    rest = Buffer.from(bytes);
  });
}

if (import.meta.main) serve(Number(process.argv[2]), process.argv[3]);
