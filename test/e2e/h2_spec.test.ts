/**
 * HTTP/2 towards clients, section by section: what a client may send (RFC 9113, RFC 7541), right and wrong, and what comes of
 * it. The selection is that of h2spec.
 */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import { connect as connectTls } from "node:tls";
import * as h2 from "../../src/wire/h2/frames.ts";
import { encodeField } from "../../src/wire/h2/hpack_encoder.ts";
import { encodeHuffman } from "../../src/wire/h2/huffman.ts";
import { selfSigned } from "../support/certificates.ts";
import { type RawFrame, RawH2 } from "../support/h2.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { waitFor } from "../support/wait.ts";

/** What a client sends on a new connection, behind the preface and its SETTINGS; a function may look at answers before. */
type Said = string | ((client: RawH2) => Promise<string>);
/** One of these has to come of it. */
type Outcomes = readonly string[];
type Case = readonly [what: string, said: Said, outcomes: Outcomes];

type Code = keyof typeof h2.ERROR;
const NAMES = new Map<number, string>(Object.entries(h2.ERROR).map(([name, code]) => [code, name]));

/** Section 5.4.1 lets a server close without a word, but Holdfast says why: a worker that died must not pass for that. */
const connectionError = (...codes: Code[]): Outcomes => codes.map((code) => `GOAWAY ${code}`);
/** Each stream error may be a connection error as well (section 5.4.2). */
const streamError = (...codes: Code[]): Outcomes => [
  ...codes.map((code) => `RST_STREAM ${code}`),
  ...connectionError(...codes),
];
/** A malformed request is a stream error, or is answered before its stream ends (section 8.1.1): nginx says 400. */
const MALFORMED: Outcomes = ["400", ...streamError("PROTOCOL_ERROR")];
const ANSWERED: Outcomes = ["200"];
/** No more than that the connection goes on. */
const GOES_ON: Outcomes = ["goes on"];
const PROTOCOL = connectionError("PROTOCOL_ERROR");
const FRAME_SIZE = connectionError("FRAME_SIZE_ERROR");
const COMPRESSION = connectionError("COMPRESSION_ERROR");
const FLOW_CONTROL = connectionError("FLOW_CONTROL_ERROR");

const { END_STREAM, END_HEADERS, PADDED, PRIORITY, ACK } = h2.FLAG;
const WHOLE = END_STREAM | END_HEADERS;

type Fields = readonly (readonly [name: string, value: string])[];
const AUTHORITY = [":authority", "localhost"] as const;
const SMALL: Fields = [[":method", "GET"], [":scheme", "http"], [":path", "/small"], AUTHORITY];
/** To a location that reads the body. */
const UPLOAD: Fields = [[":method", "POST"], [":scheme", "http"], [":path", "/upload"], AUTHORITY];
/** To one that answers at once. */
const UNREAD: Fields = [[":method", "POST"], [":scheme", "http"], [":path", "/taken"], AUTHORITY];
const SAID: Fields = [[":method", "GET"], [":scheme", "http"], [":path", "/said"], AUTHORITY];
const without = (name: string): Fields => SMALL.filter((field) => field[0] !== name);
const block = (fields: Fields) => fields.map(([name, value]) => encodeField(name, value)).join("");

const frame = (type: number, flags: number, stream: number, payload = "") =>
  h2.frameHead(payload.length, type, flags, stream) + payload;
const data = (stream: number, text: string, flags: number = END_STREAM) => frame(h2.DATA, flags, stream, text);
const head = (stream: number, fields: Fields, flags: number = WHOLE) => frame(h2.HEADERS, flags, stream, block(fields));
const continuation = (stream: number, text: string, flags: number = END_HEADERS) =>
  frame(h2.CONTINUATION, flags, stream, text);
const priority = (stream: number, depend: string, weight = "\x0f") => frame(h2.PRIORITY, 0, stream, depend + weight);
const ping = (text: string, flags = 0, stream = 0) => frame(h2.PING, flags, stream, text);
const setting = (id: number, value: number) => h2.settingsFrame([[id, value]]);
const windows = (...sizes: number[]) =>
  h2.settingsFrame(sizes.map((size) => [h2.SETTING.INITIAL_WINDOW_SIZE, size] as const));

const GET = head(1, SMALL);
const OPEN = head(1, UPLOAD, END_HEADERS);
/** A request that is half closed, and not over before the client opens the window. */
const HELD = windows(0) + GET;
/** One that then still waits for the connection's window. */
const LARGE = windows(0) + head(1, [...without(":path"), [":path", "/large"]]);
/** What is sent after a request was answered. */
const closed = (bytes: string) => async (client: RawH2) => {
  client.write(GET);
  await client.frame(h2.DATA, 1);
  return bytes;
};
/** What is sent for a request that was answered, and reset with NO_ERROR, before its end has come. */
const answered = (bytes: string) => async (client: RawH2) => {
  client.write(head(1, UNREAD, END_HEADERS));
  await client.frame(h2.RST_STREAM, 1);
  return bytes;
};
/** Trailers, without and with a new entry of the table. */
const TRAILERS = head(1, [["x-test", "ok"]]);
const INDEXED = frame(h2.HEADERS, WHOLE, 1, "\x40\x09x-example\x07example");
/** The lengths of the DATA frames that came, once there are so many. */
const lengths = async (client: RawH2, count: number) => {
  const frames = () => client.frames.filter(({ type }) => type === h2.DATA);
  await waitFor(() => frames().length >= count, `${count} DATA frames`);
  return frames().map(({ payload }) => payload.length);
};
/** GOAWAY or RST_STREAM with a code that there is not. */
const UNKNOWN_CODE = 0xff;

/** A header block, and the same in a HEADERS and CONTINUATIONs with these flags. */
const BLOCK = block(SMALL);
const pieces = (...flags: number[]) => {
  const size = Math.ceil(BLOCK.length / (flags.length + 1));
  return (
    frame(h2.HEADERS, END_STREAM, 1, BLOCK.slice(0, size)) +
    flags.map((flag, i) => continuation(1, BLOCK.slice((i + 1) * size, (i + 2) * size), flag)).join("")
  );
};
const text = (value: string) => String.fromCharCode(value.length) + value;
const huffman = (value: string) => {
  const coded = encodeHuffman(value) ?? "";
  return String.fromCharCode(0x80 | coded.length) + coded;
};
/** A request with a field in this representation, which the answer must say. */
const said = (field: string) => async (client: RawH2) => {
  client.write(frame(h2.HEADERS, WHOLE, 1, block(SAID) + field));
  assert.equal((await client.frame(h2.DATA, 1)).payload.toString(), "example");
  return "";
};
/** So many fields of 5000 bytes. */
const long = (count: number): Fields => Array.from({ length: count }, (_, i) => [`x-${i}`, "X".repeat(5000)] as const);
/** How many streams there may be at a time. */
const STREAMS = 4;
/** A request whose header block has that at its end. */
const coded = (bytes: string) => frame(h2.HEADERS, WHOLE, 1, BLOCK + bytes);

const CASES: Readonly<Record<string, readonly Case[]>> = {
  "3.4 HTTP/2 connection preface": [
    ["the preface, and a request in the same piece", GET, ANSWERED],
    [
      "the server's SETTINGS come before anything else",
      async ({ frames }) => {
        await waitFor(() => frames.length > 0, "a frame");
        assert.deepEqual([frames[0].type, frames[0].flags & ACK, frames[0].stream], [h2.SETTINGS, 0, 0]);
        return "";
      },
      GOES_ON,
    ],
  ],
  "4.1 frame format": [
    ["a frame of an unknown type", frame(0x16, 0, 0, "12345678"), GOES_ON],
    ["flags that are not defined", ping("12345678", 0x16), GOES_ON],
    ["the reserved bit before a stream", ping("12345678", 0, 0x8000_0000), GOES_ON],
  ],
  "4.2 frame size": [
    ["DATA of 2^14 bytes", OPEN + data(1, "x".repeat(h2.DEFAULT_FRAME_SIZE)), ANSWERED],
    // Holdfast lets clients send as much as a frame can hold, as nginx does: no DATA is too long.
    ["DATA of more than 2^14 bytes", OPEN + data(1, "x".repeat(h2.DEFAULT_FRAME_SIZE + 1)), ANSWERED],
    ["HEADERS of more than 2^14 bytes", head(1, [...SMALL, ...long(3)]), ANSWERED],
    ["HEADERS of more than its buffers hold", head(1, [...SMALL, ...long(14)]), connectionError("ENHANCE_YOUR_CALM")],
    ["an unknown frame of 2^14 bytes", frame(0x16, 0, 0, "x".repeat(h2.DEFAULT_FRAME_SIZE)), GOES_ON],
  ],
  "4.3 field section compression": [
    ["a field of an index that there is not", coded("\xff\x10"), COMPRESSION],
    // It says FRAME_SIZE_ERROR, as nginx does, where the RFC has COMPRESSION_ERROR.
    ["a block that ends within a field", coded("\x40\x07exam"), FRAME_SIZE],
    ["PRIORITY within a block", head(1, SMALL, END_STREAM) + priority(1, "\0\0\0\0"), PROTOCOL],
    ["HEADERS of another stream within a block", head(1, SMALL, END_STREAM) + head(3, SMALL), PROTOCOL],
  ],
  "5.1 stream states: idle": [
    ["PRIORITY", priority(1, "\0\0\0\0"), GOES_ON],
    ["DATA", data(1, "test"), PROTOCOL],
    ["RST_STREAM", h2.rstStream(1, h2.ERROR.CANCEL), PROTOCOL],
    ["WINDOW_UPDATE", h2.windowUpdate(1, 100), PROTOCOL],
    ["CONTINUATION", continuation(1, BLOCK), PROTOCOL],
  ],
  "5.1 stream states: half-closed (remote)": [
    ["WINDOW_UPDATE", HELD + h2.windowUpdate(1, 100), ANSWERED],
    ["PRIORITY", HELD + priority(1, "\0\0\0\0") + h2.windowUpdate(1, 100), ANSWERED],
    ["RST_STREAM", HELD + h2.rstStream(1, h2.ERROR.CANCEL), GOES_ON],
    ["DATA", HELD + data(1, "test"), streamError("STREAM_CLOSED")],
    // As in nginx this is an identifier that is not higher than the last (section 5.1.1).
    ["HEADERS", HELD + head(1, SMALL), [...streamError("STREAM_CLOSED"), ...PROTOCOL]],
    ["CONTINUATION", HELD + continuation(1, BLOCK), [...streamError("STREAM_CLOSED"), ...PROTOCOL]],
  ],
  "5.1 stream states: closed, by the client's RST_STREAM": [
    // As nginx, Holdfast does not remember which streams were closed how: it counts and ignores what comes for them.
    ["DATA", OPEN + h2.rstStream(1, h2.ERROR.CANCEL) + data(1, "test"), GOES_ON],
    [
      "HEADERS",
      OPEN + h2.rstStream(1, h2.ERROR.CANCEL) + head(1, SMALL),
      [...streamError("STREAM_CLOSED"), ...PROTOCOL],
    ],
    [
      "CONTINUATION",
      OPEN + h2.rstStream(1, h2.ERROR.CANCEL) + continuation(1, BLOCK),
      [...streamError("STREAM_CLOSED"), ...PROTOCOL],
    ],
  ],
  "5.1 stream states: closed, after END_STREAM": [
    ["PRIORITY", closed(priority(1, "\0\0\0\0")), GOES_ON],
    // A client may have sent these before it knew.
    ["WINDOW_UPDATE", closed(h2.windowUpdate(1, 100)), GOES_ON],
    ["RST_STREAM", closed(h2.rstStream(1, h2.ERROR.CANCEL)), GOES_ON],
    // The RFC has STREAM_CLOSED; nginx ignores it.
    ["DATA", closed(data(1, "test")), GOES_ON],
    ["HEADERS", closed(head(1, SMALL)), [...connectionError("STREAM_CLOSED"), ...PROTOCOL]],
    ["CONTINUATION", closed(continuation(1, BLOCK)), [...connectionError("STREAM_CLOSED"), ...PROTOCOL]],
  ],
  // Where the client cannot know yet, what comes is "minimally processed and discarded". nginx, which takes no trailers at all, ends the
  // connection with HEADERS.
  "5.1 stream states: closed, by the server": [
    ["DATA", answered(data(1, "test", 0)), GOES_ON],
    ["DATA and trailers", answered(data(1, "test", 0) + TRAILERS), GOES_ON],
    ["trailers of two frames", answered(head(1, [["x-test", "ok"]], END_STREAM) + continuation(1, block([]))), GOES_ON],
    ["HEADERS without END_STREAM", answered(head(1, [["x-test", "ok"]], END_HEADERS)), GOES_ON],
    ["malformed trailers", answered(head(1, [["X-TEST", "ok"]])), GOES_ON],
    ["WINDOW_UPDATE", answered(h2.windowUpdate(1, 100)), GOES_ON],
    ["WINDOW_UPDATE for a window that is too large", answered(h2.windowUpdate(1, h2.MAX_WINDOW)), GOES_ON],
    ["PRIORITY", answered(priority(1, "\0\0\0\0")), GOES_ON],
    ["RST_STREAM", answered(h2.rstStream(1, h2.ERROR.CANCEL)), GOES_ON],
    ["trailers twice", answered(TRAILERS + TRAILERS), PROTOCOL],
    ["trailers behind END_STREAM", answered(data(1, "test") + TRAILERS), PROTOCOL],
    ["trailers behind its RST_STREAM", answered(h2.rstStream(1, h2.ERROR.CANCEL) + TRAILERS), PROTOCOL],
    ["trailers that cannot be decoded", answered(frame(h2.HEADERS, WHOLE, 1, "\xff\x10")), COMPRESSION],
    [
      "trailers that change the table",
      async (client) => {
        client.write((await answered(INDEXED)(client)) + frame(h2.HEADERS, WHOLE, 3, `${block(SAID)}\xbe`));
        assert.equal((await client.frame(h2.DATA, 3)).payload.toString(), "example");
        return "";
      },
      GOES_ON,
    ],
    [
      "trailers of a stream that is refused",
      async (client) => {
        client.write(windows(0) + [1, 3, 5, 7].map((stream) => head(stream, SMALL)).join(""));
        client.write(head(9, UPLOAD, END_HEADERS));
        assert.equal(nameOf((await client.frame(h2.RST_STREAM, 9)).payload.readUInt32BE(0)), "REFUSED_STREAM");
        client.frames.length = 0;
        return data(9, "test", 0) + head(9, [["x-test", "ok"]]);
      },
      GOES_ON,
    ],
    [
      "trailers of one that is reset for an error",
      async (client) => {
        client.write(OPEN + h2.windowUpdate(1, h2.MAX_WINDOW));
        assert.equal(nameOf((await client.frame(h2.RST_STREAM, 1)).payload.readUInt32BE(0)), "FLOW_CONTROL_ERROR");
        client.frames.length = 0;
        return data(1, "test", 0) + TRAILERS;
      },
      GOES_ON,
    ],
  ],
  "5.1.1 stream identifiers": [
    ["an even one", head(2, SMALL), PROTOCOL],
    ["a lower one than the last", head(5, SMALL) + head(3, SMALL), PROTOCOL],
  ],
  "5.1.2 stream concurrency": [
    [
      "more streams than there may be",
      windows(0) + Array.from({ length: STREAMS + 1 }, (_, i) => head(2 * i + 1, SMALL)).join(""),
      streamError("REFUSED_STREAM", "PROTOCOL_ERROR"),
    ],
    [
      "as many streams as there may be",
      windows(0) + Array.from({ length: STREAMS }, (_, i) => head(2 * i + 1, SMALL)).join(""),
      GOES_ON,
    ],
  ],
  "5.3.1 stream dependencies (RFC 7540)": [
    [
      "HEADERS of a stream that depends on itself",
      frame(h2.HEADERS, WHOLE | PRIORITY, 1, `\0\0\0\x01\x0f${BLOCK}`),
      streamError("PROTOCOL_ERROR"),
    ],
    ["PRIORITY of a stream that depends on itself", priority(1, "\0\0\0\x01"), streamError("PROTOCOL_ERROR")],
  ],
  // That the connection ends behind GOAWAY is asserted for every case.
  "5.4.1 connection error handling": [["an error after a request", HELD + ping("12345678", 0, 3), PROTOCOL]],
  "5.5 extending HTTP/2": [
    ["an unknown frame on a stream", HELD + frame(0xff, 0xff, 1, "1234") + h2.windowUpdate(1, 100), ANSWERED],
    ["an unknown frame within a header block", head(1, SMALL, END_STREAM) + frame(0xff, 0, 1, "1234"), PROTOCOL],
  ],
  "6.1 DATA": [
    ["one", OPEN + data(1, "test"), ANSWERED],
    ["several", OPEN + data(1, "test", 0) + data(1, "test", 0) + data(1, "test"), ANSWERED],
    ["one without data at the end", OPEN + data(1, "test", 0) + data(1, ""), ANSWERED],
    ["padding", OPEN + data(1, "\x06test\0\0\0\0\0\0", END_STREAM | PADDED), ANSWERED],
    ["stream 0", data(0, "test"), PROTOCOL],
    ["a stream that is half-closed", HELD + data(1, "test"), streamError("STREAM_CLOSED")],
    ["padding as long as the payload", OPEN + data(1, "\x05test", END_STREAM | PADDED), PROTOCOL],
  ],
  "6.2 HEADERS": [
    ["the head of a request", GET, ANSWERED],
    ["padding", frame(h2.HEADERS, WHOLE | PADDED, 1, `\x06${BLOCK}\0\0\0\0\0\0`), ANSWERED],
    ["a priority", frame(h2.HEADERS, WHOLE | PRIORITY, 1, `\0\0\0\0\xff${BLOCK}`), ANSWERED],
    [
      "padding and a priority, exclusive",
      frame(h2.HEADERS, WHOLE | PADDED | PRIORITY, 1, `\x02\x80\0\0\0\xff${BLOCK}\0\0`),
      ANSWERED,
    ],
    ["without END_HEADERS, and PRIORITY", head(1, SMALL, END_STREAM) + priority(3, "\0\0\0\0"), PROTOCOL],
    ["without END_HEADERS, and another stream", head(1, SMALL, END_STREAM) + head(3, SMALL), PROTOCOL],
    ["stream 0", head(0, SMALL), PROTOCOL],
    ["padding longer than the payload", frame(h2.HEADERS, WHOLE | PADDED, 1, `\xff${BLOCK}`), PROTOCOL],
    ["padding without a length", frame(h2.HEADERS, WHOLE | PADDED, 1), FRAME_SIZE],
    ["a priority that ends too soon", frame(h2.HEADERS, WHOLE | PRIORITY, 1, "\0\0\0\0"), FRAME_SIZE],
  ],
  "6.3 PRIORITY": [
    ["the lowest weight", priority(1, "\0\0\0\0", "\0") + GET, ANSWERED],
    ["the highest weight", priority(1, "\0\0\0\0", "\xff") + GET, ANSWERED],
    ["a dependency", priority(1, "\0\0\0\x03") + GET, ANSWERED],
    ["an exclusive dependency", priority(1, "\x80\0\0\x03") + GET, ANSWERED],
    ["an idle stream, and a request on a lower one", priority(5, "\0\0\0\0") + GET, ANSWERED],
    ["stream 0", priority(0, "\0\0\0\x01"), PROTOCOL],
    ["a wrong length", HELD + frame(h2.PRIORITY, 0, 1, "\0\0\0\0"), streamError("FRAME_SIZE_ERROR")],
  ],
  "6.4 RST_STREAM": [
    ["a stream that is open", OPEN + h2.rstStream(1, h2.ERROR.CANCEL), GOES_ON],
    ["stream 0", h2.rstStream(0, h2.ERROR.CANCEL), PROTOCOL],
    ["an idle stream", HELD + h2.rstStream(3, h2.ERROR.CANCEL), PROTOCOL],
    ["a wrong length", HELD + frame(h2.RST_STREAM, 0, 1, "\0\0\x08"), FRAME_SIZE],
  ],
  "6.5 SETTINGS": [
    ["none", h2.settingsFrame([]), GOES_ON],
    ["ACK with a payload", frame(h2.SETTINGS, ACK, 0, "\0"), FRAME_SIZE],
    ["a stream", frame(h2.SETTINGS, 0, 1, "\0\x03\0\0\0\x64"), PROTOCOL],
    ["a length that is not a multiple of six", frame(h2.SETTINGS, 0, 0, "\0\x03\0"), FRAME_SIZE],
  ],
  "6.5.2 defined settings": [
    ["SETTINGS_ENABLE_PUSH of 2", setting(h2.SETTING.ENABLE_PUSH, 2), PROTOCOL],
    ["SETTINGS_INITIAL_WINDOW_SIZE of 2^31", windows(h2.MAX_WINDOW + 1), FLOW_CONTROL],
    ["SETTINGS_MAX_FRAME_SIZE below 2^14", setting(h2.SETTING.MAX_FRAME_SIZE, h2.DEFAULT_FRAME_SIZE - 1), PROTOCOL],
    ["SETTINGS_MAX_FRAME_SIZE above 2^24 - 1", setting(h2.SETTING.MAX_FRAME_SIZE, h2.MAX_FRAME_SIZE + 1), PROTOCOL],
    ["an unknown setting", setting(0xff, 1), GOES_ON],
  ],
  "6.5.3 settings synchronization": [
    [
      "the last of several values counts",
      async (client) => {
        client.write(windows(100, 1) + GET);
        assert.deepEqual(await lengths(client, 1), [1]);
        return "";
      },
      GOES_ON,
    ],
    [
      "each SETTINGS is acknowledged, and no ACK",
      async (client) => {
        client.write(h2.SETTINGS_ACK + setting(h2.SETTING.ENABLE_PUSH, 0) + ping("settings"));
        await client.frame(h2.PING);
        const acks = client.frames.filter(({ type, flags }) => type === h2.SETTINGS && flags === ACK);
        assert.deepEqual(
          acks.map(({ payload }) => payload.length),
          [0, 0],
        );
        return "";
      },
      GOES_ON,
    ],
  ],
  "6.6 PUSH_PROMISE": [
    ["from a client", HELD + frame(h2.PUSH_PROMISE, END_HEADERS, 1, `\0\0\0\x02${BLOCK}`), PROTOCOL],
  ],
  "6.7 PING": [
    [
      "is answered with the same bytes, and ACK not at all",
      async (client) => {
        client.write(ping("unasked!", ACK) + ping("question"));
        const { flags, payload } = await client.frame(h2.PING);
        assert.deepEqual([flags, payload.toString()], [ACK, "question"]);
        return "";
      },
      GOES_ON,
    ],
    ["a stream", ping("12345678", 0, 1), PROTOCOL],
    ["a wrong length", ping("123456"), FRAME_SIZE],
  ],
  "6.8 GOAWAY": [
    ["without an error", h2.goaway(0, h2.ERROR.NO_ERROR), GOES_ON],
    ["with further data", frame(h2.GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0why"), GOES_ON],
    ["a stream", frame(h2.GOAWAY, 0, 1, "\0\0\0\0\0\0\0\0"), PROTOCOL],
  ],
  "6.9 WINDOW_UPDATE": [
    ["of the connection", h2.windowUpdate(0, 1), GOES_ON],
    ["of a stream", HELD + h2.windowUpdate(1, 1) + h2.windowUpdate(1, 100), ANSWERED],
    ["nothing for the connection", h2.windowUpdate(0, 0), PROTOCOL],
    ["nothing for a stream", HELD + h2.windowUpdate(1, 0), streamError("PROTOCOL_ERROR")],
    ["a wrong length", frame(h2.WINDOW_UPDATE, 0, 0, "\0\0\x01"), FRAME_SIZE],
  ],
  "6.9.1 the flow-control window": [
    [
      "a window of one byte",
      async (client) => {
        client.write(windows(1) + GET);
        assert.deepEqual(await lengths(client, 1), [1]);
        client.write(h2.windowUpdate(1, 2));
        assert.deepEqual(await lengths(client, 2), [1, 2]);
        return "";
      },
      GOES_ON,
    ],
    ["above 2^31 - 1 for the connection", h2.windowUpdate(0, h2.MAX_WINDOW).repeat(2), FLOW_CONTROL],
    [
      "above 2^31 - 1 for a stream",
      LARGE + h2.windowUpdate(1, h2.MAX_WINDOW).repeat(2),
      ["RST_STREAM FLOW_CONTROL_ERROR"],
    ],
  ],
  "6.9.2 initial flow-control window size": [
    [
      "a change after the request",
      async (client) => {
        client.write(HELD);
        await client.frame(h2.HEADERS, 1);
        client.write(windows(1));
        assert.deepEqual(await lengths(client, 1), [1]);
        return "";
      },
      GOES_ON,
    ],
    [
      "a window that becomes negative",
      async (client) => {
        client.write(windows(3) + GET);
        assert.deepEqual(await lengths(client, 1), [3]);
        client.write(windows(2) + h2.windowUpdate(1, 2));
        assert.deepEqual(await lengths(client, 2), [3, 1]);
        return "";
      },
      GOES_ON,
    ],
    [
      "a change that makes a stream's window too large",
      LARGE + h2.windowUpdate(1, h2.MAX_WINDOW) + windows(100_000),
      streamError("FLOW_CONTROL_ERROR"),
    ],
  ],
  "6.10 CONTINUATION": [
    ["one", pieces(END_HEADERS), ANSWERED],
    ["several", pieces(0, 0, END_HEADERS), ANSWERED],
    ["other frames before the last", pieces(0) + data(1, "test"), PROTOCOL],
    ["stream 0", head(1, SMALL, END_STREAM) + continuation(0, ""), PROTOCOL],
    ["after HEADERS with END_HEADERS", HELD + continuation(1, BLOCK), PROTOCOL],
    ["after CONTINUATION with END_HEADERS", windows(0) + pieces(END_HEADERS) + continuation(1, BLOCK), PROTOCOL],
    ["after DATA", OPEN + data(1, "test", 0) + continuation(1, BLOCK), PROTOCOL],
  ],
  "7 error codes": [
    ["GOAWAY with an unknown code", h2.goaway(0, UNKNOWN_CODE), GOES_ON],
    ["RST_STREAM with an unknown code", HELD + h2.rstStream(1, UNKNOWN_CODE), GOES_ON],
  ],
  "8.1 HTTP message framing": [
    ["GET", GET, ANSWERED],
    ["HEAD", head(1, [[":method", "HEAD"], ...without(":method")]), ANSWERED],
    ["POST", OPEN + data(1, "test"), ANSWERED],
    ["POST with trailers", OPEN + data(1, "test", 0) + head(1, [["x-test", "ok"]]), ANSWERED],
    [
      "a second HEADERS without END_STREAM",
      OPEN + data(1, "test", 0) + head(1, [["x-test", "ok"]], END_HEADERS),
      streamError("PROTOCOL_ERROR"),
    ],
    [
      "trailers that are not complete when the request is answered are not another request",
      async (client) => {
        client.write(head(1, UNREAD, END_HEADERS) + head(1, [["x-test", "ok"]], END_STREAM));
        await client.frame(h2.HEADERS, 1);
        client.write(continuation(1, block([["x-more", "ok"]])) + head(3, SMALL));
        await client.frame(h2.DATA, 3);
        assert.deepEqual(
          client.frames.filter(({ type }) => type === h2.HEADERS).map(({ stream }) => stream),
          [1, 3],
        );
        return "";
      },
      GOES_ON,
    ],
  ],
  "8.1.1 malformed messages": [
    [
      "a body shorter than content-length",
      head(1, [...UPLOAD, ["content-length", "5"]], END_HEADERS) + data(1, "test"),
      MALFORMED,
    ],
    [
      "a body longer than content-length",
      head(1, [...UPLOAD, ["content-length", "3"]], END_HEADERS) + data(1, "test"),
      MALFORMED,
    ],
    [
      "a body of several frames shorter than content-length",
      head(1, [...UPLOAD, ["content-length", "9"]], END_HEADERS) + data(1, "test", 0) + data(1, "test"),
      MALFORMED,
    ],
    ["content-length, but no body", head(1, [...UPLOAD, ["content-length", "1"]]), MALFORMED],
  ],
  "8.2.1 field validity": [
    ["a name in upper case", head(1, [...SMALL, ["X-TEST", "ok"]]), MALFORMED],
    ["a name with a space", head(1, [...SMALL, ["x test", "ok"]]), MALFORMED],
    ["a value with a line feed", head(1, [...SMALL, ["x-test", "a\nb"]]), MALFORMED],
    ["a name in trailers", OPEN + data(1, "test", 0) + head(1, [["X-TEST", "ok"]]), streamError("PROTOCOL_ERROR")],
  ],
  "8.2.2 connection-specific header fields": [
    ["connection", head(1, [...SMALL, ["connection", "keep-alive"]]), MALFORMED],
    ["transfer-encoding", head(1, [...SMALL, ["transfer-encoding", "chunked"]]), MALFORMED],
    ["te with another value than trailers", head(1, [...SMALL, ["te", "trailers, deflate;q=0.5"]]), MALFORMED],
    ["te with trailers", head(1, [...SMALL, ["te", "trailers"]]), ANSWERED],
  ],
  "8.3 HTTP control data": [
    ["an unknown pseudo-header field", head(1, [...SMALL, [":test", "ok"]]), MALFORMED],
    ["one of responses", head(1, [...SMALL, [":status", "200"]]), MALFORMED],
    ["one in trailers", OPEN + data(1, "test", 0) + head(1, [[":method", "GET"]]), streamError("PROTOCOL_ERROR")],
    ["one behind another field", head(1, [...without(":path"), ["x-test", "ok"], [":path", "/small"]]), MALFORMED],
  ],
  "8.3.1 request pseudo-header fields": [
    ["an empty :path", head(1, [...without(":path"), [":path", ""]]), MALFORMED],
    ["no :method", head(1, without(":method")), MALFORMED],
    ["no :scheme", head(1, without(":scheme")), MALFORMED],
    ["no :path", head(1, without(":path")), MALFORMED],
    ["two of :method", head(1, [[":method", "GET"], ...SMALL]), MALFORMED],
    ["two of :scheme", head(1, [[":scheme", "http"], ...SMALL]), MALFORMED],
    ["two of :path", head(1, [[":path", "/small"], ...SMALL]), MALFORMED],
    ["two of :authority", head(1, [AUTHORITY, ...SMALL]), MALFORMED],
  ],
  "RFC 7541 2.3.3 index address space": [
    ["a field of an index beyond the tables", coded("\xbe"), COMPRESSION],
    ["a name of an index beyond the tables", coded(`\x7e${text("ok")}`), COMPRESSION],
  ],
  "RFC 7541 4.2 maximum table size": [["an update at the end of a block", coded("\x21"), COMPRESSION]],
  "RFC 7541 5.2 string literal representation": [
    // The RFC allows less than eight bits of padding; nginx takes more.
    ["padding of more than seven bits", coded("\0\x01x\x82\x1f\xff"), ANSWERED],
    ["padding with zeros", coded("\0\x01x\x81\x18"), COMPRESSION],
    ["the code of the end", coded("\0\x01x\x85\x1f\xff\xff\xff\xfc"), COMPRESSION],
  ],
  "RFC 7541 6.1 indexed field representation": [
    ["a field of a table", coded("\x90"), ANSWERED],
    ["index 0", coded("\x80"), COMPRESSION],
  ],
  "RFC 7541 6.2 literal representations": [
    ["indexed, of a known name", said(`\x7a${text("example")}`), GOES_ON],
    ["indexed, of a known name, in Huffman's code", said(`\x7a${huffman("example")}`), GOES_ON],
    ["indexed, of a new name", said(`\x40${text("x-example")}${text("example")}`), GOES_ON],
    ["indexed, of a new name, in Huffman's code", said(`\x40${huffman("x-example")}${huffman("example")}`), GOES_ON],
    ["not indexed, of a known name", said(`\x0f\x2b${text("example")}`), GOES_ON],
    ["not indexed, of a known name, in Huffman's code", said(`\x0f\x2b${huffman("example")}`), GOES_ON],
    ["not indexed, of a new name", said(`\0${text("x-example")}${text("example")}`), GOES_ON],
    ["not indexed, of a new name, in Huffman's code", said(`\0${huffman("x-example")}${huffman("example")}`), GOES_ON],
    ["never indexed, of a known name", said(`\x1f\x2b${text("example")}`), GOES_ON],
    ["never indexed, of a known name, in Huffman's code", said(`\x1f\x2b${huffman("example")}`), GOES_ON],
    ["never indexed, of a new name", said(`\x10${text("x-example")}${text("example")}`), GOES_ON],
    [
      "never indexed, of a new name, in Huffman's code",
      said(`\x10${huffman("x-example")}${huffman("example")}`),
      GOES_ON,
    ],
    ["indexed and used again", said(`\x40${text("x-unused")}${text("a")}\x7a${text("example")}\xbf`), GOES_ON],
  ],
  "RFC 7541 6.3 dynamic table size update": [
    ["the size that there is", frame(h2.HEADERS, WHOLE, 1, `\x3f\xe1\x1f${BLOCK}`), ANSWERED],
    ["two of them", frame(h2.HEADERS, WHOLE, 1, `\x20\x3f\xe1\x1f${BLOCK}`), ANSWERED],
    ["a size above SETTINGS_HEADER_TABLE_SIZE", frame(h2.HEADERS, WHOLE, 1, `\x3f\xe2\x1f${BLOCK}`), COMPRESSION],
  ],
};

const nameOf = (code: number) => NAMES.get(code) ?? String(code);

/** What came of what the client sent. `answers`: one is to be waited for. */
async function outcomeOf(client: RawH2, answers: boolean): Promise<string> {
  client.write(ping("the end!"));
  const found = (wanted: (frame: RawFrame) => boolean) => client.frames.find(wanted);
  const goaway = () => found(({ type }) => type === h2.GOAWAY);
  // NO_ERROR says only that the rest of a body is not needed (section 8.1).
  const reset = () => found(({ type, payload }) => type === h2.RST_STREAM && payload.readUInt32BE(0) !== 0);
  const ended = () =>
    found(({ type, flags }) => (type === h2.HEADERS || type === h2.DATA) && (flags & END_STREAM) !== 0);
  const ponged = () => found(({ type, payload }) => type === h2.PING && payload.toString() === "the end!");
  await waitFor(
    () => client.ended || goaway() || (ponged() && (!answers || reset() || ended())),
    () => `an outcome after ${JSON.stringify(client.frames.map(({ type, flags }) => [type, flags]))}`,
  );
  const last = goaway();
  if (last !== undefined) {
    await waitFor(() => client.ended, "the end of the connection");
    return `GOAWAY ${nameOf(last.payload.readUInt32BE(4))}`;
  }
  if (client.ended) return "closed";
  const error = reset();
  if (error !== undefined) return `RST_STREAM ${nameOf(error.payload.readUInt32BE(0))}`;
  if (!answers) return "goes on";
  // An index of the static table: ":status: 200" is the eighth.
  const [status] = found(({ type }) => type === h2.HEADERS)?.payload ?? [];
  return status === 0x88 ? "200" : status === 0x8c ? "400" : `a status of another kind, 0x${status.toString(16)}`;
}

function start(t: TestContext): Promise<Running> {
  const { certificate, key } = selfSigned("localhost");
  return startHoldfast(t, {
    files: { "conf/c.pem": certificate, "conf/k.pem": key, "html/small": "small\n", "html/large": "l".repeat(100_000) },
    config: ([port, secure]) => `http { http2_max_concurrent_streams ${STREAMS};
      server { listen 127.0.0.1:${port}; listen 127.0.0.1:${secure} ssl; http2 on; root html;
        ssl_certificate c.pem; ssl_certificate_key k.pem;
        location = /said { return 200 "$http_user_agent$http_x_example"; }
        location = /taken { return 200; }
        location = /upload { proxy_pass http://127.0.0.1:${port}/taken; } } }`,
  });
}

test("what a client may send by RFC 9113 and RFC 7541, and what it may not", async (t) => {
  const holdfast = await start(t);
  for (const [section, cases] of Object.entries(CASES)) {
    for (const [what, said, outcomes] of cases) {
      await t.test(`${section}: ${what}`, async (t) => {
        const client = await RawH2.open(t, holdfast.port);
        client.write(typeof said === "string" ? said : await said(client));
        const outcome = await outcomeOf(
          client,
          outcomes.some((one) => /^\d+$/.test(one)),
        );
        assert.ok(outcomes.includes(outcome), `${outcome} in place of ${outcomes.join(", ")}`);
      });
    }
  }
  await t.test("3.4 HTTP/2 connection preface: another one, in clear", async (t) => {
    const client = new RawH2(connect({ port: holdfast.port, host: "127.0.0.1" }));
    t.after(() => client.socket.destroy());
    client.write("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    await waitFor(() => client.ended, "the end of the connection");
  });
  await t.test("3.4 HTTP/2 connection preface: another one, over TLS", async (t) => {
    const options = { port: holdfast.ports[1], host: "127.0.0.1", ALPNProtocols: ["h2"], rejectUnauthorized: false };
    const client = new RawH2(connectTls(options));
    t.after(() => client.socket.destroy());
    client.write("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    assert.equal(nameOf((await client.frame(h2.GOAWAY)).payload.readUInt32BE(4)), "PROTOCOL_ERROR");
    await waitFor(() => client.ended, "the end of the connection");
  });
});
