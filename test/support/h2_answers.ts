/** Frames as servers of HTTP/2 send them: what Node's server answers, and what others may. */
import { once } from "node:events";
import { constants, createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, connect } from "node:net";
import type { TestContext } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { encodeField } from "../../src/wire/h2/hpack_encoder.ts";
import { type Frame, framesOf } from "./h2_mutations.ts";

/** How many requests a recorded conversation answers. */
export const ANSWERS = 12;

/** The frames of two conversations, without padding and with, on the streams 1, 3, 5 …; each ends with GOAWAY. */
export async function recordedAnswers(t: TestContext): Promise<Frame[][]> {
  const { PADDING_STRATEGY_NONE, PADDING_STRATEGY_MAX } = constants;
  return [await recorded(t, PADDING_STRATEGY_NONE), await recorded(t, PADDING_STRATEGY_MAX)];
}

async function recorded(t: TestContext, paddingStrategy: number): Promise<Frame[]> {
  const server = createServer({ paddingStrategy, settings: { maxConcurrentStreams: 50 } });
  let open = ANSWERS;
  server.on("session", (session) => {
    session.on("error", () => {});
    session.on("stream", (stream, headers) => {
      stream.on("error", () => {});
      stream.on("close", () => {
        open--;
        if (open === ANSWERS / 2) session.settings({ initialWindowSize: 100_000, maxConcurrentStreams: 20 });
        if (open === 0) session.goaway(0);
      });
      answer(stream, headers);
    });
    session.ping(() => {});
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const socket = connect({ host: "127.0.0.1", port });
  t.after(() => {
    socket.destroy();
    server.close();
  });
  const settings = h2.settingsFrame([
    [h2.SETTING.HEADER_TABLE_SIZE, 0],
    [h2.SETTING.ENABLE_PUSH, 0],
    [h2.SETTING.INITIAL_WINDOW_SIZE, 1_000_000],
  ]);
  let sent = h2.PREFACE + settings + h2.windowUpdate(0, 1_000_000);
  for (let i = 0; i < ANSWERS; i++) {
    const id = 2 * i + 1;
    const fields = [":method POST", ":scheme http", `:path /${i}`, ":authority a", "te trailers"];
    const block = fields.map((field) => field.split(" ")).map(([name, value]) => encodeField(name, value));
    sent += h2.headersFrames(id, block.join(""), false, h2.DEFAULT_FRAME_SIZE);
    sent += `${h2.frameHead(7, h2.DATA, h2.FLAG.END_STREAM, id)}request`;
  }
  socket.write(Buffer.from(sent + h2.SETTINGS_ACK, "latin1"));
  let all = Buffer.alloc(0);
  socket.on("data", (bytes: Buffer) => {
    all = Buffer.concat([all, bytes]);
  });
  while (!framesOf(all).some(({ type }) => type === h2.GOAWAY)) await new Promise(setImmediate);
  return framesOf(all);
}

function answer(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
  const text = "application/grpc";
  const trailers = (fields: Record<string, string>): void => {
    stream.on("wantTrailers", () => stream.sendTrailers(fields));
  };
  switch (Number(headers[":path"]?.slice(1))) {
    case 0:
      stream.respond({ ":status": 200, "content-length": "3000", "set-cookie": ["a=1", "b=2"] });
      stream.end(Buffer.alloc(3000, "first"));
      break;
    case 1:
      stream.additionalHeaders({ ":status": 103, link: "</a.css>; rel=preload" });
      stream.respond({ ":status": 200 }, { waitForTrailers: true });
      trailers({ "x-sum": "42" });
      stream.end("hinted");
      break;
    case 2:
      stream.respond({ ":status": 200, "content-type": text }, { waitForTrailers: true });
      trailers({ "grpc-status": "0", "grpc-message": "fine" });
      stream.write(Buffer.from("\0\0\0\0\x05hello", "latin1"));
      setImmediate(() => stream.end(Buffer.from("\0\0\0\0\x05again", "latin1")));
      break;
    case 3:
      stream.respond({ ":status": 200, "content-type": text, "grpc-status": "5" }, { endStream: true });
      break;
    case 4:
      stream.respond({ ":status": 204 }, { endStream: true });
      break;
    case 5:
      // Of a size that needs CONTINUATION.
      stream.respond({ ":status": 200, "x-large": "{".repeat(20_000) });
      stream.end("large head");
      break;
    case 6:
      stream.close(h2.ERROR.REFUSED_STREAM);
      break;
    case 7:
      stream.respond({ ":status": 200 });
      stream.end(Buffer.alloc(40_000, "0123456789"));
      break;
    case 8:
      stream.respond({ ":status": 304, etag: '"e"' }, { endStream: true });
      break;
    case 9:
      stream.respond({ ":status": 200 });
      stream.write("broken off");
      setImmediate(() => stream.close(h2.ERROR.INTERNAL_ERROR));
      break;
    case 10:
      stream.respond({ ":status": 503, "retry-after": "1" });
      stream.end("busy");
      break;
    default:
      stream.respond({ ":status": 200, "content-length": "0" }, { endStream: true });
  }
}

/** What that server does not send, but others may. */
export function otherAnswers(): Frame[] {
  const { END_HEADERS, END_STREAM, PADDED, PRIORITY, ACK } = h2.FLAG;
  const frame = (type: number, flags: number, stream: number, payload: string): Frame => {
    return { type, flags, stream, payload: Buffer.from(payload, "latin1") };
  };
  const ok = encodeField(":status", "200");
  const status = (code: number) => encodeField(":status", String(code));
  const settings = (...pairs: [number, number][]) => frame(h2.SETTINGS, 0, 0, h2.settingsFrame(pairs).slice(9));
  const window = (stream: number, by: number) => frame(h2.WINDOW_UPDATE, 0, stream, h2.windowUpdate(0, by).slice(9));
  const { INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, HEADER_TABLE_SIZE, MAX_FRAME_SIZE } = h2.SETTING;
  return [
    settings([INITIAL_WINDOW_SIZE, 0]),
    settings([INITIAL_WINDOW_SIZE, 7], [MAX_CONCURRENT_STREAMS, 0]),
    settings([INITIAL_WINDOW_SIZE, 1_000_000], [MAX_CONCURRENT_STREAMS, 1000]),
    settings([HEADER_TABLE_SIZE, 0], [MAX_FRAME_SIZE, 16_777_215], [0x77, 1]),
    frame(h2.SETTINGS, ACK, 0, ""),
    window(0, 100_000),
    window(1, 100_000),
    window(3, 1),
    window(5, h2.MAX_WINDOW),
    frame(h2.DATA, PADDED, 1, "\x05data\0\0\0\0\0"),
    frame(h2.DATA, PADDED | END_STREAM, 3, "\0end"),
    frame(h2.DATA, 0, 5, ""),
    frame(h2.DATA, END_STREAM, 7, ""),
    frame(h2.DATA, 0, 9, "d".repeat(16_384)),
    frame(h2.HEADERS, END_HEADERS | PADDED | PRIORITY, 11, `\x04\0\0\0\0\x10${ok}\0\0\0\0`),
    frame(h2.HEADERS, END_HEADERS, 13, status(100)),
    frame(h2.HEADERS, END_HEADERS | END_STREAM, 15, status(103)),
    frame(h2.HEADERS, END_HEADERS, 17, ok + encodeField("content-length", "5")),
    frame(h2.HEADERS, END_HEADERS | END_STREAM, 19, encodeField("x-trailer", "yes")),
    frame(h2.HEADERS, 0, 21, ok),
    frame(h2.CONTINUATION, 0, 21, ""),
    frame(h2.CONTINUATION, END_HEADERS, 21, encodeField("late", "field")),
    frame(h2.RST_STREAM, 0, 1, "\0\0\0\0"),
    frame(h2.RST_STREAM, 0, 3, "\0\0\0\x07"),
    frame(h2.RST_STREAM, 0, 9, "\0\0\0\x08"),
    frame(h2.PUSH_PROMISE, END_HEADERS, 1, `\0\0\0\x02${encodeField(":path", "/pushed")}`),
    frame(h2.GOAWAY, 0, 0, "\x7f\xff\xff\xff\0\0\0\0"),
    frame(h2.GOAWAY, 0, 0, "\0\0\0\x05\0\0\0\0shutting down"),
    frame(h2.GOAWAY, 0, 0, "\0\0\0\0\0\0\0\x0b"),
    frame(h2.PING, 0, 0, "12345678"),
    frame(h2.PING, ACK, 0, "12345678"),
    frame(h2.PRIORITY, 0, 7, "\x80\0\0\x03\xff"),
    frame(0x10, 0, 0, "unknown"),
  ];
}
