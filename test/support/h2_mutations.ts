/** Frames as clients of HTTP/2 send them, and changes to them. */
import { once } from "node:events";
import { connect } from "node:http2";
import { type AddressInfo, createServer } from "node:net";
import type { TestContext } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { encodeField } from "../../src/wire/h2/hpack_encoder.ts";
import type { Chance } from "./mutations.ts";

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
  /** What its head says, where that is not so. */
  readonly length?: number;
}

export function frameBytes({ type, flags, stream, payload, length = payload.length }: Frame): Buffer {
  const head = Buffer.from(h2.frameHead(length & 0xff_ffff, type, flags, stream), "latin1");
  return Buffer.concat([head, payload]);
}

/** What Node's client sends: its blocks are of Huffman's code and use the dynamic table. */
export async function recordedFrames(t: TestContext): Promise<Frame[]> {
  let all = Buffer.alloc(0);
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes: Buffer) => {
      all = Buffer.concat([all, bytes]);
    });
    socket.write(Buffer.from(h2.settingsFrame([]) + h2.SETTINGS_ACK, "latin1"));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const session = connect(`http://127.0.0.1:${port}`, { settings: { headerTableSize: 4096, enablePush: false } });
  t.after(() => {
    session.destroy();
    server.close();
  });
  session.on("error", () => {});
  const browser = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    accept: "text/html,application/xhtml+xml,*/*;q=0.8",
    "accept-language": "en-GB,en;q=0.7",
    "accept-encoding": "gzip, deflate, br, zstd",
    te: "trailers",
  };
  const heads = [
    { ":path": "/", ...browser },
    { ":path": "/catalogue?page=2&sort=price", cookie: ["session=8f1c2e7a", "theme=dark"], ...browser },
    { ":path": "/upload", ":method": "POST", "content-length": "5000", "content-type": "text/plain", ...browser },
    { ":path": `/${"long/".repeat(300)}`, ":method": "PUT", "x-odd": "\u00e9\u00ff~", ...browser },
    { ":path": "/a%20b/../c", ":method": "DELETE", host: "other.example", underscore_name: "1", ...browser },
    { ":path": "*", ":method": "OPTIONS", "x-large": "x".repeat(5000), ...browser },
  ];
  for (const head of heads) {
    const body = ":method" in head && head[":method"] !== "DELETE";
    const stream = session.request(head, { endStream: !body });
    stream.on("error", () => {});
    if (body) stream.end(Buffer.alloc(5000, "0123456789"));
  }
  session.ping(() => {});
  const frames = (): Frame[] => framesOf(all.subarray(h2.PREFACE.length));
  while (frames().filter(({ type, flags }) => type === h2.DATA && (flags & h2.FLAG.END_STREAM) !== 0).length < 3) {
    await new Promise(setImmediate);
  }
  return frames();
}

export function framesOf(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at + h2.FRAME_HEAD <= bytes.length; ) {
    const end = at + h2.FRAME_HEAD + bytes.readUIntBE(at, 3);
    if (end > bytes.length) break;
    const payload = bytes.subarray(at + h2.FRAME_HEAD, end);
    frames.push({ type: bytes[at + 3], flags: bytes[at + 4], stream: bytes.readUInt32BE(at + 5), payload });
    at = end;
  }
  return frames;
}

/** What that client does not send, but others may. */
export function otherFrames(): Frame[] {
  const block = [":method GET", ":scheme http", ":path /x", ":authority a", "cookie a=1", "cookie b=2"]
    .map((field) => field.split(" "))
    .map(([name, value]) => encodeField(name, value))
    .join("");
  const { END_HEADERS, END_STREAM, PADDED, PRIORITY } = h2.FLAG;
  const frame = (type: number, flags: number, stream: number, payload: string): Frame => {
    return { type, flags, stream, payload: Buffer.from(payload, "latin1") };
  };
  return [
    frame(h2.HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITY, 101, `\x04\0\0\0\0\x10${block}\0\0\0\0`),
    frame(h2.HEADERS, END_STREAM, 103, block.slice(0, 7)),
    frame(h2.CONTINUATION, 0, 103, block.slice(7, 20)),
    frame(h2.CONTINUATION, END_HEADERS, 103, block.slice(20)),
    frame(h2.HEADERS, END_HEADERS | END_STREAM, 105, `\x20\x3f\xe1\x1f${block}\x40\x01a\x01b\xbe\x50\x82\xf1\xe3`),
    // An entry of half the table: 0x7f 0xd1 0x0e is 2000 octets.
    frame(h2.HEADERS, END_HEADERS | END_STREAM, 107, `${block}\x40\x01l\x7f\xd1\x0e${"l".repeat(2000)}\xbe`),
    frame(h2.DATA, PADDED, 101, "\x05data\0\0\0\0\0"),
    frame(h2.DATA, END_STREAM, 101, ""),
    frame(h2.PRIORITY, 0, 7, "\x80\0\0\x03\xff"),
    frame(h2.RST_STREAM, 0, 101, "\0\0\0\x08"),
    frame(h2.SETTINGS, 0, 0, "\0\x03\0\0\0\x64\0\x04\x7f\xff\xff\xff"),
    frame(h2.PUSH_PROMISE, END_HEADERS, 1, `\0\0\0\x02${block}`),
    frame(h2.GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0bye"),
    frame(h2.WINDOW_UPDATE, 0, 0, "\0\x01\0\0"),
    frame(0x10, 0, 0, "unknown"),
  ];
}

function changedBytes(bytes: Buffer, chance: Chance): Buffer {
  const at = chance.below(bytes.length + 1);
  switch (chance.below(8)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + chance.below(20))]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at), chance.bytes(1 + chance.below(20)), bytes.subarray(at)]);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(chance.below(at + 1))]);
    case 4:
      return chance.bytes(chance.below(200));
    case 5: {
      // Integers of many octets, indices and strings out of range.
      const odd = ODD_FIELDS[chance.below(ODD_FIELDS.length)];
      return Buffer.concat([bytes.subarray(0, at), odd, bytes.subarray(at)]);
    }
    default: {
      const copy = Buffer.from(bytes);
      for (let i = chance.below(4); i >= 0 && copy.length > 0; i--) {
        const place = chance.below(copy.length);
        if (chance.below(2) === 0) copy[place] ^= 1 << chance.below(8);
        else copy[place] = [0, 0x7f, 0x80, 0xff, 0x0d, 0x0a, 0x3a, 0x20][chance.below(8)];
      }
      return copy;
    }
  }
}

const ODD_FIELDS: readonly Buffer[] = [
  "80",
  "be",
  "c0",
  "ff00",
  "ffffffff7f",
  "ffffffffff01",
  "20",
  "3fe11f",
  "3fe21f",
  "3fffffff7f",
  "4000",
  "400161ff80",
  "400a436f6e74656e740d0a05610d0a3a62",
  "7f80ffffff7f",
  "0001610162",
  "1001610162",
  "410161",
  "408261ff",
  "84ffffffff",
].map((hex) => Buffer.from(hex, "hex"));

/** Some of these frames, `most` of them or a few more, in some order, some of them changed. */
export function changedFrames(frames: readonly Frame[], chance: Chance, most = 12): Frame[] {
  const from = chance.below(3) === 0 ? chance.below(frames.length) : 0;
  const chosen = frames.slice(from, from + 1 + chance.below(most));
  for (let changes = 1 + chance.below(3); changes > 0; changes--) {
    const at = chance.below(chosen.length);
    const frame = chosen[at];
    switch (chance.below(12)) {
      case 0:
        chosen[at] = { ...frame, type: chance.below(12) };
        break;
      case 1:
        chosen[at] = { ...frame, flags: chance.below(256) };
        break;
      case 2:
        chosen[at] = { ...frame, stream: [0, 1, 2, 3, 0x7fff_ffff, 0xffff_ffff, chance.below(300)][chance.below(7)] };
        break;
      case 3: {
        const { length } = frame.payload;
        const other = [0, 1, length + 1, length + 9, 16_384, 16_385, 0xff_ffff, Math.max(0, length - 1)];
        chosen[at] = { ...frame, length: other[chance.below(other.length)] };
        break;
      }
      case 4:
        chosen.splice(at, 0, ...Array<Frame>(1 + chance.below(4)).fill(frame));
        break;
      case 5:
        if (chosen.length > 1) chosen.splice(at, 1);
        break;
      case 6:
        chosen.splice(at, 0, frames[chance.below(frames.length)]);
        break;
      case 7: {
        const cut = chance.below(frame.payload.length + 1);
        const { END_HEADERS } = h2.FLAG;
        const rest = { type: h2.CONTINUATION, flags: frame.flags & END_HEADERS, stream: frame.stream };
        const first = { ...frame, flags: frame.flags & ~END_HEADERS, payload: frame.payload.subarray(0, cut) };
        chosen.splice(at, 1, first, { ...rest, payload: frame.payload.subarray(cut) });
        break;
      }
      default:
        chosen[at] = { ...frame, payload: changedBytes(frame.payload, chance) };
    }
  }
  return chosen;
}
