/**
 * A client of HTTP/2 that attacks until its input ends: `node h2_attacker_main.ts PORT ATTACK`. It has a few connections, sends on
 * each as fast as the server reads, and opens another where one is closed. Prints a line of JSON: connections, bytes sent,
 * and frames that came, by type.
 */
import { connect, type Socket } from "node:net";
import * as h2 from "../../src/wire/h2/frames.ts";
import { encodeField } from "../../src/wire/h2/hpack_encoder.ts";

/** What an attack sends on a connection, byte strings: `first` once, then `more` for each number, until the connection is closed. */
interface Attack {
  readonly settings?: readonly (readonly [number, number])[];
  readonly first?: string;
  readonly more?: (number: number) => string;
  /** How often `more` is called for a piece. */
  readonly batch?: number;
  /** Nothing is read, or all. */
  readonly reads?: boolean;
  /** The side that sends is closed after `first`. */
  readonly ends?: boolean;
  /** Pieces follow one another so many ms apart. Default: at full rate. */
  readonly pause?: number;
  /** What comes before SETTINGS in place of the preface. */
  readonly preface?: string;
  readonly connections?: number;
  /** What the server's log says when it has had enough; where nothing, what it bounds is memory, or the time between answers. */
  readonly said?: RegExp;
}

const FLOOD = /http2 flood detected/;
const REFUSED = /client sent too many refused streams/;
const FIELDS = /client sent too many header lines/;
const IDENTIFIER = /client sent HEADERS frame with incorrect identifier/;
const UNSENT = /client timed out \(110: Connection timed out\) while sending response to client/;
const UNREAD = /client timed out \(110: Connection timed out\)/;

const END_STREAM_AND_HEADERS = h2.FLAG.END_STREAM | h2.FLAG.END_HEADERS;
const WINDOW = h2.SETTING.INITIAL_WINDOW_SIZE;
const zero = (length: number): string => "\0".repeat(length);

function block(path: string, more = ""): string {
  const fields: readonly (readonly [string, string])[] = [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", path],
    [":authority", "localhost"],
  ];
  return fields.map(([name, value]) => encodeField(name, value)).join("") + more;
}

function headers(stream: number, content: string, flags: number = END_STREAM_AND_HEADERS): string {
  return h2.frameHead(content.length, h2.HEADERS, flags, stream) + content;
}

function frame(type: number, flags: number, stream: number, payload = ""): string {
  return h2.frameHead(payload.length, type, flags, stream) + payload;
}

/** The stream of that number. */
const odd = (number: number): number => 2 * number + 1;
const many = (count: number, make: (number: number) => string): string =>
  Array.from({ length: count }, (_, number) => make(number)).join("");
const get = (number: number, path = "/small"): string => headers(odd(number), block(path));
/** A literal that goes into the table: two bytes of length at most. */
const kept = (name: string, value: string): string =>
  `\x40${integer(name.length)}${name}${integer(value.length)}${value}`;
const integer = (value: number): string =>
  value < 127
    ? String.fromCharCode(value)
    : `\x7f${String.fromCharCode(((value - 127) & 0x7f) | 0x80, (value - 127) >> 7)}`;
const large = (path: string, count = 100): string => many(count, (number) => get(number, path));

const ATTACKS: Readonly<Record<string, Attack>> = {
  "rapid reset": { said: REFUSED, more: (i) => get(i) + h2.rstStream(odd(i), h2.ERROR.CANCEL), batch: 500 },
  "rapid reset of proxied requests": {
    said: REFUSED,
    more: (i) => get(i, "/p/wait") + h2.rstStream(odd(i), h2.ERROR.CANCEL),
    batch: 500,
  },
  "rapid reset, a few at a time": {
    said: REFUSED,
    more: (i) => get(i, "/p/") + h2.rstStream(odd(i), h2.ERROR.CANCEL),
    batch: 50,
  },
  "streams that the server must reset": {
    said: REFUSED,
    more: (i) => get(i, "/p/wait") + h2.windowUpdate(odd(i), h2.MAX_WINDOW),
    batch: 50,
  },
  "DATA behind the end of streams": {
    said: REFUSED,
    more: (i) => get(i, "/p/wait") + frame(h2.DATA, 0, odd(i), "x"),
    batch: 50,
  },
  "requests without end": { said: REFUSED, more: (i) => get(i, "/p/wait"), batch: 100 },
  "malformed requests": { more: (i) => headers(odd(i), block("bad")), batch: 100 },
  "endless CONTINUATION": {
    said: /client sent too large header/,
    first: headers(1, block("/small"), 0),
    more: () => frame(h2.CONTINUATION, 0, 1, `\0\x01a\x7f\x80\x01${zero(255)}`),
    batch: 100,
  },
  "CONTINUATION of a byte": {
    said: FIELDS,
    more: (i) => {
      const fields = `${block("/small")}${encodeField("a", "b").repeat(5000)}`;
      const pieces = many(fields.length - 2, (at) => frame(h2.CONTINUATION, 0, odd(i), fields[at + 1]));
      return (
        headers(odd(i), fields[0], h2.FLAG.END_STREAM) +
        pieces +
        frame(h2.CONTINUATION, h2.FLAG.END_HEADERS, odd(i), "a")
      );
    },
    batch: 1,
  },
  "empty CONTINUATION": {
    said: /http2 flood detected|client timed out/,
    first: headers(1, block("/small"), 0),
    more: () => frame(h2.CONTINUATION, 0, 1),
    batch: 2000,
  },
  "CONTINUATION of nothing": {
    said: /client sent unexpected CONTINUATION frame/,
    more: () => frame(h2.CONTINUATION, h2.FLAG.END_HEADERS, 1, "\x82"),
    batch: 1,
  },
  SETTINGS: { first: get(0), said: FLOOD, more: () => h2.settingsFrame([]), batch: 2000 },
  "SETTINGS that is not read": {
    first: get(0),
    said: FLOOD,
    more: () => h2.settingsFrame([]),
    batch: 2000,
    reads: false,
  },
  "many settings": { first: get(0), said: FLOOD, more: () => h2.settingsFrame(Array(2700).fill([3, 1])), batch: 10 },
  "windows that change": {
    said: FLOOD,
    settings: [[WINDOW, 0]],
    first: large("/large"),
    more: (i) => h2.settingsFrame([[WINDOW, i % 2]]),
    batch: 1000,
  },
  "SETTINGS acknowledged": { first: get(0), said: FLOOD, more: () => h2.SETTINGS_ACK, batch: 2000 },
  PING: { first: get(0), said: FLOOD, more: () => frame(h2.PING, 0, 0, "12345678"), batch: 2000 },
  "PING that is not read": {
    first: get(0),
    said: FLOOD,
    more: () => frame(h2.PING, 0, 0, "12345678"),
    batch: 2000,
    reads: false,
  },
  "PING acknowledged": {
    first: get(0),
    said: FLOOD,
    more: () => frame(h2.PING, h2.FLAG.ACK, 0, "12345678"),
    batch: 2000,
  },
  "a window of one": {
    said: FLOOD,
    settings: [[WINDOW, 1]],
    first: large("/large"),
    more: (i) => h2.windowUpdate(odd(i % 100), 1),
    batch: 1000,
  },
  "a window of one, proxied": {
    said: FLOOD,
    settings: [[WINDOW, 1]],
    first: large("/p/large"),
    more: (i) => h2.windowUpdate(odd(i % 100), 1),
    batch: 1000,
  },
  "windows of idle streams": { said: FLOOD, first: get(0), more: () => h2.windowUpdate(1, 1), batch: 2000 },
  "empty DATA": {
    said: FLOOD,
    first: headers(1, block("/p/upload"), h2.FLAG.END_HEADERS),
    more: () => frame(h2.DATA, 0, 1),
    batch: 2000,
  },
  "DATA of padding": {
    said: FLOOD,
    first: headers(1, block("/p/upload"), h2.FLAG.END_HEADERS),
    more: () => frame(h2.DATA, h2.FLAG.PADDED, 1, `\xff${zero(255)}`),
    batch: 200,
  },
  "DATA of streams that are over": {
    said: FLOOD,
    first: get(0),
    more: () => frame(h2.DATA, 0, 1, zero(16_000)),
    batch: 10,
  },
  // The first piece gives the server time to answer the request, which it resets then.
  "HEADERS of a stream that is over": {
    said: FLOOD,
    first: headers(1, block("/small"), h2.FLAG.END_HEADERS),
    more: (i) => (i < 1000 ? h2.ping("12345678") : headers(1, block("/small"), h2.FLAG.END_HEADERS)),
    batch: 1000,
    pause: 5,
  },
  "unknown frames": { first: get(0), said: FLOOD, more: (i) => frame(0x20 + (i % 200), 0xff, i, ""), batch: 2000 },
  "large unknown frames": { first: get(0), said: FLOOD, more: () => frame(0xbe, 0, 0, zero(16_384)), batch: 10 },
  "a table that fills": {
    more: (i) => headers(odd(i), block("/small", kept(`a${i % 1000}`, zero(3500).replaceAll("\0", "x")))),
    batch: 50,
  },
  "a table of small entries": {
    more: (i) =>
      headers(
        odd(i),
        block(
          "/small",
          many(100, (at) => kept(`b${at}`, `${i % 7}`)),
        ),
      ),
    batch: 50,
  },
  "tables that change": {
    more: (i) => headers(odd(i), `${"\x20\x3f\xe1\x1f".repeat(500)}${block("/small", kept("a", "b"))}`),
    batch: 20,
  },
  "HPACK bombs": {
    first: headers(1, block("/small", kept("x-bomb", zero(3900).replaceAll("\0", "b")))),
    more: (i) => headers(odd(i + 1), block("/small", "\xbe".repeat(8))),
    batch: 50,
  },
  "HPACK bombs of one byte": {
    said: FIELDS,
    first: headers(1, block("/small", kept("a", ""))),
    more: (i) => headers(odd(i + 1), block("/small", "\xbe".repeat(15_000))),
    batch: 5,
  },
  "fields that are left out": {
    said: FIELDS,
    first: headers(1, block("/small", kept("_", ""))),
    more: (i) => headers(odd(i + 1), block("/small", "\xbe".repeat(15_000))),
    batch: 5,
  },
  "cookies in crumbs": {
    first: headers(1, block("/small", kept("cookie", "a"))),
    more: (i) => headers(odd(i + 1), block("/small", "\xbe".repeat(4000))),
    batch: 10,
  },
  "streams far apart": { more: (i) => headers(odd(i * 1_000_000), block("/small")), batch: 100 },
  "streams that go back": {
    said: IDENTIFIER,
    more: (i) => headers(i % 2 === 0 ? 1_000_001 : 1, block("/small")),
    batch: 2,
  },
  "even streams": { said: IDENTIFIER, more: (i) => headers(2 * i, block("/small")), batch: 1 },
  "stream 0": { said: IDENTIFIER, more: () => headers(0, block("/small")), batch: 1 },
  PRIORITY: {
    said: /client sent too many PRIORITY frames/,
    more: (i) => frame(h2.PRIORITY, 0, odd(i), "\0\0\0\0\xff"),
    batch: 2000,
  },
  "dependencies in a chain": {
    more: (i) => {
      const depends = Buffer.alloc(5);
      depends.writeUInt32BE(i === 0 ? 0 : odd(i - 1));
      const flags = END_STREAM_AND_HEADERS | h2.FLAG.PRIORITY;
      return headers(odd(i), depends.toString("latin1") + block("/small"), flags);
    },
    batch: 100,
  },
  "a stream that depends on itself": {
    said: /client sent PRIORITY frame for stream \d+ with incorrect dependency/,
    more: (i) => frame(h2.PRIORITY, 0, odd(i), `${h2.rstStream(0, odd(i)).slice(-4)}\0`),
    batch: 1,
  },
  "priorities that change": {
    said: /client sent too many PRIORITY frames/,
    first: large("/p/wait", 1),
    more: () => frame(0x10, 0, 0, "\0\0\0\x01u=1"),
    batch: 1000,
  },
  "a frame of 16 MiB": {
    said: /client sent unknown frame with incorrect length/,
    more: () => h2.frameHead(0xff_ffff, 0xbe, 0, 0) + zero(100_000),
    batch: 1,
  },
  "SETTINGS of 16 MiB": {
    said: /client sent SETTINGS frame with incorrect length/,
    more: () => h2.frameHead(0xff_fffc, h2.SETTINGS, 0, 0) + zero(100_000),
    batch: 1,
  },
  "HEADERS of 16 MiB": {
    said: /client sent too large header/,
    more: () => h2.frameHead(0xff_ffff, h2.HEADERS, END_STREAM_AND_HEADERS, 1) + zero(100_000),
    batch: 1,
  },
  "DATA of 16 MiB": {
    said: /client violated flow control/,
    first: headers(1, block("/p/upload"), h2.FLAG.END_HEADERS),
    more: () => h2.frameHead(0xff_ffff, h2.DATA, 0, 1) + zero(100_000),
    batch: 1,
  },
  "a large path": { more: (i) => headers(odd(i), block(`/${zero(8000).replaceAll("\0", "x")}`)), batch: 10 },
  "half-open": { said: /client prematurely closed connection/, first: large("/large"), ends: true },
  "half-open, in the preface": {
    said: /client closed connection while waiting for request/,
    preface: h2.PREFACE.slice(0, 10),
    ends: true,
  },
  "half-open, in a frame": {
    said: /client prematurely closed connection/,
    first: headers(1, block("/small"), 0),
    ends: true,
  },
  "a slow preface": {
    said: UNREAD,
    preface: h2.PREFACE.slice(0, 3),
    more: (i) => h2.PREFACE.slice(3 + i, 4 + i),
    batch: 1,
    pause: 500,
    connections: 200,
  },
  "a slow block": {
    said: UNREAD,
    first: headers(1, block("/small"), 0),
    more: () => frame(h2.CONTINUATION, 0, 1, "\x82"),
    batch: 1,
    pause: 300,
    connections: 200,
  },
  "a slow body": { said: UNREAD, first: headers(1, block("/p/upload"), h2.FLAG.END_HEADERS), connections: 100 },
  "windows of nothing": { said: UNSENT, settings: [[WINDOW, 0]], first: large("/large"), connections: 20 },
  "windows of nothing, proxied": { said: UNSENT, settings: [[WINDOW, 0]], first: large("/p/large"), connections: 20 },
  "a reader that never reads": {
    said: UNSENT,
    settings: [[WINDOW, h2.MAX_WINDOW]],
    first: h2.windowUpdate(0, h2.MAX_WINDOW - h2.DEFAULT_WINDOW) + large("/large"),
    reads: false,
    connections: 20,
  },
  "a reader that never reads, proxied": {
    said: UNSENT,
    settings: [[WINDOW, h2.MAX_WINDOW]],
    first: h2.windowUpdate(0, h2.MAX_WINDOW - h2.DEFAULT_WINDOW) + large("/p/large"),
    reads: false,
    connections: 20,
  },
};

/** Their names, and what the server's log is to say. */
export const ATTACKS_SAID: readonly (readonly [name: string, said: RegExp | undefined])[] = Object.entries(ATTACKS).map(
  ([name, { said }]) => [name, said],
);

const CONNECTIONS = 4;

function attack(port: number, name: string): void {
  const { settings = [], first = "", more, batch = 1, reads = true, ends, pause, preface, connections } = ATTACKS[name];
  let opened = 0;
  let bytes = 0;
  const frames: Record<number, number> = {};
  const open = (): void => {
    opened++;
    let number = 0;
    const socket = connect({ port, host: "127.0.0.1" });
    const write = (text: string): boolean => {
      bytes += text.length;
      return socket.write(Buffer.from(text, "latin1"));
    };
    const go = (): void => {
      if (more === undefined || socket.destroyed) return;
      const piece = many(batch, () => more(number++));
      const ready = write(piece);
      if (pause !== undefined) setTimeout(go, pause);
      else if (ready) setImmediate(go);
      else socket.once("drain", go);
    };
    socket.on("connect", () => {
      write(preface ?? h2.PREFACE);
      if (preface === undefined) write(h2.settingsFrame(settings) + h2.SETTINGS_ACK + first);
      if (ends === true) socket.end();
      go();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      // A server that closes at once is not to be asked more often than it can be from one machine.
      setTimeout(open, 1);
    });
    if (reads) count(socket, frames);
  };
  for (let i = connections ?? CONNECTIONS; i > 0; i--) open();
  process.stdin.resume().on("end", () => {
    console.log(JSON.stringify({ opened, bytes, frames }));
    process.exit(0);
  });
}

/** Counts the frames that come. */
function count(socket: Socket, frames: Record<number, number>): void {
  let rest: Buffer = Buffer.alloc(0);
  let skip = 0;
  socket.on("data", (piece: Buffer) => {
    let bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    for (;;) {
      const skipped = Math.min(skip, bytes.length);
      bytes = bytes.subarray(skipped);
      skip -= skipped;
      if (skip > 0 || bytes.length < h2.FRAME_HEAD) break;
      frames[bytes[3]] = (frames[bytes[3]] ?? 0) + 1;
      skip = bytes.readUIntBE(0, 3);
      bytes = bytes.subarray(h2.FRAME_HEAD);
    }
    rest = Buffer.from(bytes);
  });
}

if (import.meta.main) attack(Number(process.argv[2]), process.argv[3]);
