/** What servers of HTTP/2 answer, right and wrong, passed on by grpc_pass and proxy_http_version 2 as by nginx, and in its words. */
import { type TestContext, test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { answerLines } from "../support/h1_transcript.ts";
import { block, data, type Fields, frame, head } from "../support/h2_bytes.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { aboutServer, LogMarks } from "../support/log_marks.ts";
import { assertAsNginx, type Said } from "../support/recorded_nginx.ts";
import { type Script, type ScriptedServer, scriptedH2 } from "../support/scripted_h2.ts";
import { send } from "../support/tcp.ts";

const { END_STREAM, END_HEADERS, PADDED, PRIORITY } = h2.FLAG;
const OPEN = END_HEADERS;
const OK: Fields = [":status: 200", "content-type: text/plain"];
const status = (code: string, ...more: string[]): Fields => [`:status: ${code}`, ...more];
/** A head that goes on, with these fields, and a body. */
const answer =
  (...fields: string[]): Script =>
  (s) => [head(s, [...OK, ...fields], OPEN) + data(s, "body")];
/** A head of its own with a body. */
const odd =
  (fields: Fields): Script =>
  (s) => [head(s, fields, OPEN) + data(s, "body")];
/** A header block of bytes behind a right one. */
const coded =
  (bytes: string): Script =>
  (s) => [frame(h2.HEADERS, OPEN, s, block(OK) + bytes) + data(s, "body")];
const first =
  (bytes: (stream: number) => string): Script =>
  (s) => [bytes(s) + head(s, OK, OPEN) + data(s, "body")];
const between =
  (bytes: (stream: number) => string): Script =>
  (s) => [head(s, OK, OPEN) + data(s, "bo", 0), bytes(s) + data(s, "dy")];
const after =
  (bytes: (stream: number) => string): Script =>
  (s) => [head(s, OK, OPEN) + data(s, "body") + bytes(s)];
const length =
  (value: string, ...frames: ((stream: number) => string)[]): Script =>
  (s) => [head(s, [...OK, `content-length: ${value}`], OPEN) + frames.map((one) => one(s)).join("")];

const ANSWERS: Readonly<Record<string, Script>> = {
  plain: answer(),
  "no body": (s) => [head(s, OK)],
  "an empty body": (s) => [head(s, OK, OPEN) + data(s, "")],
  "in pieces": (s) => [head(s, OK, OPEN), data(s, "b", 0), data(s, "od", 0), data(s, "y")],
  "byte by byte": (s) => [...(head(s, [...OK, "x-one: 1"], OPEN) + data(s, "body"))],
  "a body of 100,000 bytes": (s) => [
    head(s, OK, OPEN) + data(s, "x".repeat(16384), 0).repeat(6) + data(s, "x".repeat(1696)),
  ],
  "its length": length("4", (s) => data(s, "body")),
  "less than its length": length("5", (s) => data(s, "body")),
  "more than its length": length("3", (s) => data(s, "body")),
  "more than its length, in pieces": length(
    "3",
    (s) => data(s, "bod", 0),
    (s) => data(s, "y"),
  ),
  "its length without the end": length(
    "4",
    (s) => data(s, "body", 0),
    (s) => data(s, ""),
  ),
  "length of nothing": (s) => [head(s, [...OK, "content-length: 0"])],
  "length of nothing, and a body": length("0", (s) => data(s, "body")),
  "a length without a body": (s) => [head(s, [...OK, "content-length: 4"])],
  "a length that is none": length("4x", (s) => data(s, "body")),
  "two lengths": odd([...OK, "content-length: 4", "content-length: 4"]),
  "204": (s) => [head(s, status("204"))],
  "204 with a body": odd(status("204")),
  "304": (s) => [head(s, status("304", 'etag: "x"'))],
  "304 with a length": (s) => [head(s, status("304", "content-length: 4"))],
  "404": odd(status("404", "content-type: text/plain")),
  "500": odd(status("500", "content-type: text/plain")),
  "a status of its own": odd(status("799", "content-type: text/plain")),
  redirect: odd(status("302", "location: http://elsewhere.example/x")),
  "103": (s) => [head(s, status("103", "link: </a>"), OPEN) + head(s, OK, OPEN) + data(s, "body")],
  "103 that is the end": (s) => [head(s, status("103", "link: </a>"))],
  "103 twice": (s) => [head(s, status("103", "link: </a>"), OPEN).repeat(2), head(s, OK, OPEN) + data(s, "body")],
  "101": odd(status("101")),
  "status 99": odd(status("099")),
  "status of two digits": odd(status("20")),
  "status of four digits": odd(status("2000")),
  "status of letters": odd(status("abc")),
  "an empty status": odd(status("")),
  "no status": odd(["content-type: text/plain"]),
  "no field": (s) => [frame(h2.HEADERS, OPEN, s, "") + data(s, "body")],
  "status twice": odd([...status("200"), ...status("200")]),
  "status behind": odd(["content-type: text/plain", ":status: 200"]),
  "another pseudo-header": odd(status("200", ":path: /")),
  "upper case": answer("X-Upper: 1"),
  "a space in a name": answer("x y: 1"),
  "a colon in a name": answer("x:y: 1"),
  "an underscore": answer("x_y: 1"),
  "another byte in a name": answer("x(y: 1"),
  "a control byte in a name": answer("x\x01y: 1"),
  "a carriage return in a value": answer("x-one: a\rb"),
  "NUL in a value": answer("x-one: a\0b"),
  "spaces around a value": answer("x-one:   a  "),
  "high bytes in a value": answer("x-one: \xe4"),
  "an empty value": answer("x-one: "),
  connection: answer("connection: close"),
  "keep-alive": answer("keep-alive: timeout=5"),
  "transfer-encoding": answer("transfer-encoding: chunked"),
  upgrade: answer("upgrade: websocket"),
  te: answer("te: trailers"),
  "trailer, announced": answer("trailer: x-trailer"),
  "two cookies": answer("set-cookie: a=1; Path=/", "set-cookie: b=2"),
  "fields of the server": answer("server: theirs", "date: today", "x-pad: x"),
  "x-accel-redirect": answer("x-accel-redirect: /elsewhere?a=b", "set-cookie: a=1"),
  "x-accel-buffering": answer("x-accel-buffering: no"),
  "x-accel-expires": answer("x-accel-expires: 5"),
  "x-accel-limit-rate": answer("x-accel-limit-rate: 100000"),
  "last-modified, etag": answer("last-modified: Thu, 01 Jan 1970 00:00:01 GMT", 'etag: "x"'),
  "accept-ranges": answer("accept-ranges: bytes"),
  "content-encoding": answer("content-encoding: gzip"),
  "www-authenticate": odd(status("401", "www-authenticate: Basic")),
  trailers: (s) => [head(s, OK, OPEN) + data(s, "body", 0) + head(s, ["x-trailer: 1", "grpc-status: 0"])],
  "trailers behind a length": (s) => [
    head(s, [...OK, "content-length: 4"], OPEN) + data(s, "body", 0) + head(s, ["x-trailer: 1"]),
  ],
  "trailers without a body": (s) => [head(s, OK, OPEN) + head(s, ["x-trailer: 1"])],
  "trailers before their length": (s) => [
    head(s, [...OK, "content-length: 5"], OPEN) + data(s, "body", 0) + head(s, ["x-trailer: 1"]),
  ],
  "trailers that are not the end": (s) => [
    head(s, OK, OPEN) + data(s, "body", 0) + head(s, ["x-trailer: 1"], OPEN) + data(s, ""),
  ],
  "trailers with a pseudo-header": (s) => [head(s, OK, OPEN) + data(s, "body", 0) + head(s, [":status: 200"])],
  "trailers in upper case": (s) => [head(s, OK, OPEN) + data(s, "body", 0) + head(s, ["X-Trailer: 1"])],
  "trailers with a carriage return": (s) => [head(s, OK, OPEN) + data(s, "body", 0) + head(s, ["x-trailer: a\rb"])],
  "trailers for framing": (s) => [
    head(s, OK, OPEN) +
      data(s, "body", 0) +
      head(s, ["content-length: 4", "transfer-encoding: chunked", "connection: close", "x-trailer: 1"]),
  ],
  "DATA before the head": first((s) => data(s, "x", 0)),
  "DATA on stream 0": first(() => data(0, "x", 0)),
  "HEADERS on stream 0": first(() => head(0, OK)),
  "DATA on another stream": first((s) => data(s + 4, "x", 0)),
  "HEADERS on another stream": first((s) => head(s + 4, OK)),
  "RST_STREAM on another stream": first((s) => h2.rstStream(s + 4, h2.ERROR.CANCEL)),
  "DATA behind the end": after((s) => data(s, "more")),
  "HEADERS behind the end": after((s) => head(s, OK)),
  "padded DATA": (s) => [head(s, OK, OPEN) + data(s, "\x03body\0\0\0", END_STREAM | PADDED)],
  "DATA of padding alone": (s) => [head(s, OK, OPEN) + data(s, "\x03\0\0\0", PADDED) + data(s, "body")],
  "padded HEADERS": (s) => [frame(h2.HEADERS, OPEN | PADDED, s, `\x03${block(OK)}\0\0\0`) + data(s, "body")],
  "HEADERS with a priority": (s) => [
    frame(h2.HEADERS, OPEN | PRIORITY, s, `\0\0\0\0\x0f${block(OK)}`) + data(s, "body"),
  ],
  "more padding than DATA": (s) => [head(s, OK, OPEN) + data(s, "\x09body", END_STREAM | PADDED)],
  "more padding than HEADERS": (s) => [frame(h2.HEADERS, OPEN | PADDED, s, `\xff${block(OK)}`)],
  "padding without a length": (s) => [frame(h2.HEADERS, OPEN | PADDED, s, "")],
  CONTINUATION: (s) => [
    frame(h2.HEADERS, 0, s, block(OK).slice(0, 1)) +
      frame(h2.CONTINUATION, OPEN, s, block(OK).slice(1)) +
      data(s, "body"),
  ],
  "CONTINUATION of nothing": first((s) => frame(h2.CONTINUATION, OPEN, s, block(OK))),
  "CONTINUATION of another stream": (s) => [
    frame(h2.HEADERS, 0, s, block(OK)) + frame(h2.CONTINUATION, OPEN, s + 2, ""),
  ],
  "DATA within a block": (s) => [frame(h2.HEADERS, 0, s, block(OK)) + data(s, "body")],
  "PING within a block": (s) => [
    frame(h2.HEADERS, 0, s, block(OK)) +
      frame(h2.PING, 0, 0, "12345678") +
      frame(h2.CONTINUATION, OPEN, s, "") +
      data(s, "body"),
  ],
  PUSH_PROMISE: first((s) => frame(h2.PUSH_PROMISE, OPEN, s, `\0\0\0\x02${block(OK)}`)),
  PRIORITY: first((s) => frame(h2.PRIORITY, 0, s, "\0\0\0\0\x0f")),
  "a frame that is unknown": first((s) => frame(0x77, 0, s, "what")),
  "too large a frame": (s) => [head(s, OK, OPEN) + data(s, "x".repeat(16385))],
  SETTINGS: first(() =>
    h2.settingsFrame([
      [3, 10],
      [4, 70000],
      [5, 20000],
      [99, 1],
    ]),
  ),
  "SETTINGS of a wrong length": first(() => frame(h2.SETTINGS, 0, 0, "12345")),
  "SETTINGS ACK with a payload": first(() => frame(h2.SETTINGS, h2.FLAG.ACK, 0, "123456")),
  "SETTINGS on a stream": first((s) => frame(h2.SETTINGS, 0, s, "")),
  "a window beyond all": first(() => h2.settingsFrame([[4, 0x80000000]])),
  PING: first(() => frame(h2.PING, 0, 0, "12345678")),
  "PING of a wrong length": first(() => frame(h2.PING, 0, 0, "1234567")),
  "PING on a stream": first((s) => frame(h2.PING, 0, s, "12345678")),
  WINDOW_UPDATE: first((s) => h2.windowUpdate(0, 10) + h2.windowUpdate(s, 10)),
  "WINDOW_UPDATE of 0": first(() => h2.windowUpdate(0, 0)),
  "WINDOW_UPDATE of 0 on the stream": first((s) => h2.windowUpdate(s, 0)),
  "WINDOW_UPDATE too far": first(() => h2.windowUpdate(0, 0x7fffffff)),
  "WINDOW_UPDATE too far on the stream": first((s) => h2.windowUpdate(s, 0x7fffffff)),
  "WINDOW_UPDATE of a wrong length": first(() => frame(h2.WINDOW_UPDATE, 0, 0, "123")),
  RST_STREAM: (s) => [h2.rstStream(s, h2.ERROR.INTERNAL_ERROR)],
  "RST_STREAM, cancelled": (s) => [h2.rstStream(s, h2.ERROR.CANCEL)],
  "RST_STREAM without an error": (s) => [h2.rstStream(s, h2.ERROR.NO_ERROR)],
  "RST_STREAM of a wrong length": first((s) => frame(h2.RST_STREAM, 0, s, "123")),
  "RST_STREAM on stream 0": first(() => h2.rstStream(0, h2.ERROR.CANCEL)),
  "RST_STREAM within the body": (s) => [
    head(s, OK, OPEN) + data(s, "bo", 0) + h2.rstStream(s, h2.ERROR.INTERNAL_ERROR),
  ],
  "RST_STREAM without an error within the body": (s) => [
    head(s, OK, OPEN) + data(s, "bo", 0) + h2.rstStream(s, h2.ERROR.NO_ERROR),
  ],
  "RST_STREAM behind the length": (s) => [
    head(s, [...OK, "content-length: 4"], OPEN) + data(s, "body", 0) + h2.rstStream(s, h2.ERROR.INTERNAL_ERROR),
  ],
  "RST_STREAM without an error behind the end": after((s) => h2.rstStream(s, h2.ERROR.NO_ERROR)),
  GOAWAY: (s) => [h2.goaway(s, h2.ERROR.NO_ERROR) + head(s, OK, OPEN) + data(s, "body")],
  "GOAWAY with an error": (s) => [h2.goaway(s, h2.ERROR.INTERNAL_ERROR) + head(s, OK, OPEN) + data(s, "body")],
  "GOAWAY with an error, not processed": () => [h2.goaway(0, h2.ERROR.INTERNAL_ERROR)],
  "GOAWAY within the body": between((s) => h2.goaway(s, h2.ERROR.NO_ERROR)),
  "GOAWAY on a stream": first((s) => frame(h2.GOAWAY, 0, s, "\0\0\0\0\0\0\0\0")),
  "GOAWAY of a wrong length": first(() => frame(h2.GOAWAY, 0, 0, "1234567")),
  "an index of nothing": coded("\x80"),
  "an index that there is not": coded("\xff\x10"),
  "a name's index that there is not": coded("\x7f\x10\x01a"),
  "a field that is cut off": coded("\x00\x07exam"),
  "a name of nothing": coded("\x00\x00\x01a"),
  "a bad code in a name": coded("\x00\x84\xff\xff\xff\xff\x01a"),
  "a bad code in a value": coded("\x00\x05x-one\x84\xff\xff\xff\xff"),
  "a long integer": coded("\xff\xff\xff\xff\xff\xff\x01"),
  "a table's size": (s) => [frame(h2.HEADERS, OPEN, s, `\x20${block(OK)}`) + data(s, "body")],
  "a table's size that is more": (s) => [frame(h2.HEADERS, OPEN, s, `\x3f\xe1\x1f${block(OK)}`) + data(s, "body")],
  "a field with indexing": coded("\x40\x05x-one\x011"),
  "a large field": answer(`x-one: ${"!".repeat(3000)}`),
  "too large a field": answer(`x-one: ${"!".repeat(5000)}`),
  "too large a head": answer(...Array.from({ length: 5 }, (_, i) => `x-${i}: ${"!".repeat(1000)}`)),
  "nothing, and closes": () => [undefined],
  "a part of a frame, and closes": () => ["\0\0", undefined],
  "a head, and closes": (s) => [head(s, OK, OPEN), undefined],
  "a part of the body, and closes": (s) => [head(s, OK, OPEN) + data(s, "bo", 0), undefined],
  "a part of its length, and closes": (s) => [
    head(s, [...OK, "content-length: 4"], OPEN) + data(s, "bo", 0),
    undefined,
  ],
  "all of its length without an end, and closes": (s) => [
    head(s, [...OK, "content-length: 4"], OPEN) + data(s, "body", 0),
    undefined,
  ],
  "a part of a DATA frame, and closes": (s) => [head(s, OK, OPEN) + data(s, "body").slice(0, 11), undefined],
  "HTTP/1.1": () => ["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"],
};
const NAMES = Object.keys(ANSWERS);

const LOCATIONS: Readonly<Record<string, string>> = {
  grpc: "grpc_pass BACKEND;",
  buffered: "proxy_pass http://BACKEND; proxy_http_version 2; proxy_pass_trailers on;",
  unbuffered: "proxy_pass http://BACKEND; proxy_http_version 2; proxy_pass_trailers on; proxy_buffering off;",
};

const ZERO = "stream 0 carries no answer (RFC 9113 section 5.1.1)";
const OCTET = "of an index or a size nginx reads the first octet alone";
const WHOLE = "an answer is whole with END_STREAM";
/** What is meant to differ, in all locations. */
const OTHERS = Object.fromEntries(
  Object.entries({
    "103": "$upstream_status is that of the answer",
    "103 twice": "$upstream_status is that of the answer",
    "no field": "an answer has a status",
    te: "a field about a connection stays behind",
    "trailers for framing": "fields that have no meaning in a trailer stay behind",
    "trailers before their length": "a broken answer has no $upstream_trailer_x_trailer",
    "trailers that are not the end": "a broken answer has no $upstream_trailer_x_trailer",
    "DATA on stream 0": ZERO,
    "HEADERS on stream 0": ZERO,
    "RST_STREAM on stream 0": ZERO,
    "DATA on another stream": "the sentence is for all streams of the connection",
    "an index that there is not": OCTET,
    "a name's index that there is not": OCTET,
    "a long integer": OCTET,
    "a table's size that is more": OCTET,
    "DATA behind the end": WHOLE,
    "HEADERS behind the end": WHOLE,
  }).flatMap(([name, why]) => Object.keys(LOCATIONS).map((location) => [`${location}: ${name}`, why])),
);

const config =
  (port: number) =>
  ([listen]: readonly number[]) =>
    `worker_processes 1; http {
  log_format all '$uri $status|$upstream_status|$upstream_http_x_one|$upstream_trailer_x_trailer';
  access_log logs/access.log all; root html;
  server { listen 127.0.0.1:${listen};
    location = /elsewhere { return 200 "elsewhere $args"; }
    ${Object.entries(LOCATIONS)
      .map(([name, text]) => `location /${name}/ { ${text.replaceAll("BACKEND", `127.0.0.1:${port}`)} }`)
      .join("\n")} } }`;

async function observe(backend: ScriptedServer, server: Running): Promise<Said> {
  const marks = new LogMarks(server, server.port, { [`:${backend.port}`]: ":BACKEND" });
  const said = new Map<string, string[]>();
  await marks.lines();
  for (const location of Object.keys(LOCATIONS)) {
    for (const [i, name] of NAMES.entries()) {
      const raw = `GET /${location}/${i} HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE, close\r\n\r\n`;
      const answer = await send(server.port, raw);
      backend.requests();
      said.set(`${location}: ${name}`, [...answerLines(answer), ...(await marks.lines()).map(aboutServer)]);
    }
  }
  return said;
}

test("answers of servers", async (t: TestContext) => {
  const backend = await scriptedH2(t, (fields) => {
    const path = fields.find((field) => field.startsWith(":path: "));
    return ANSWERS[NAMES[Number(path?.split("/").at(-1))]];
  });
  const options = { config: config(backend.port) };
  const said = await observe(backend, await startHoldfast(t, options));
  const ask = async (binary: string) => observe(backend, await startNginx(t, options, binary));
  await assertAsNginx("h2_answers", said, ask, OTHERS);
});
