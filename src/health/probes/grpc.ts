import { UNESCAPE_ALL, unescapeUri } from "../../wire/escape.ts";
import { type FrameHandler, FrameReader } from "../../wire/h2/frame_reader.ts";
import * as h2 from "../../wire/h2/frames.ts";
import { HpackDecoder } from "../../wire/h2/hpack_decoder.ts";
import { encodeField } from "../../wire/h2/hpack_encoder.ts";
import { H2ResponseReader } from "../../wire/h2/response_reader.ts";
import { HEAD, INFORMATIONAL } from "../../wire/http1/response_reader.ts";
import { PASS, type Probe, type Verdict } from "../probe.ts";
import { reasonOf } from "../response.ts";

/** What a check of gRPC asks, and expects. */
export interface GrpcSettings {
  /** The service that is asked for; "" for the server as a whole. A byte string. */
  readonly service: string;
  /** The status of the call that passes: 0, or such as 12 of a server that does not implement the service of health. */
  readonly status: number;
}

/** Bounds of an answer. */
const MAX_HEAD = 64 * 1024;
const MAX_MESSAGE = 64 * 1024;
const MAX_FRAMES = 1000;
const STREAM = 1;
const NOTHING = Buffer.alloc(0);

/** HealthCheckResponse.ServingStatus (grpc/health/v1/health.proto) */
const STATUSES = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING = 1;

/** The statuses of gRPC by number (grpc.io, "Status codes and their use in gRPC"). */
const CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
];
/** No more of what a server says about its status goes into a reason. */
const MAX_SAID = 100;

/** `type=grpc`: calls grpc.health.v1.Health/Check, whose answer must be SERVING. `server` is its directive's argument as written. */
export function grpc(settings: GrpcSettings, server: string, secure: boolean): Probe {
  return new GrpcProbe(settings, server, secure);
}

class GrpcProbe implements Probe, FrameHandler {
  readonly send: Buffer;
  readonly reusable = false;
  readonly unfinished = false;
  private readonly expected: number;
  private frames = new FrameReader(h2.PREFACE.length);
  private readonly decoder = new HpackDecoder(0);
  private readonly reader = new H2ResponseReader();
  private verdict: Verdict | undefined = undefined;
  private count = 0;
  private any = false;
  private headed = false;
  private status = "";
  /** grpc-message, as it came. */
  private said = "";
  private message: Buffer = NOTHING;
  private block: Buffer = NOTHING;
  private blockEnds = false;
  // The frame that is being read.
  private type = 0;
  private flags = 0;
  private id = 0;

  constructor({ service, status }: GrpcSettings, server: string, secure: boolean) {
    this.expected = status;
    this.send = Buffer.from(request(service, /^unix:/i.test(server) ? "localhost" : server, secure), "latin1");
  }

  begin(): void {
    this.frames = new FrameReader(h2.PREFACE.length);
    this.reader.begin(MAX_HEAD);
    this.verdict = undefined;
    this.count = 0;
    this.any = false;
    this.headed = false;
    this.status = "";
    this.said = "";
    this.message = NOTHING;
    this.block = NOTHING;
  }

  connected(): undefined {}

  data(bytes: Buffer): Verdict | undefined {
    this.any = true;
    this.frames.read(bytes, this);
    return this.verdict;
  }

  end(): Verdict {
    return this.any ? "closed by the server within the response" : "closed by the server without a response";
  }

  // ---- frames

  onFrame(length: number, type: number, flags: number, id: number): boolean {
    this.type = type;
    this.flags = flags;
    this.id = id;
    if (length > h2.DEFAULT_FRAME_SIZE || (this.count === 0 && type !== h2.SETTINGS))
      return this.say("not an HTTP/2 response");
    if (++this.count > MAX_FRAMES || this.block.length + length > MAX_HEAD) return this.say("too long an answer");
    return true;
  }

  onPayload(payload: Buffer): boolean {
    switch (this.type) {
      case h2.HEADERS:
      case h2.CONTINUATION:
        return this.takeBlock(payload);
      case h2.RST_STREAM:
        if (this.id !== STREAM || payload.length < 4) return true;
        return this.say(`the call was rejected with error ${payload.readUInt32BE(0)}`);
      case h2.GOAWAY:
        if (payload.length < 8 || (payload.readUInt32BE(0) & h2.MAX_WINDOW) >= STREAM) return true;
        return this.say(`the server goes away with error ${payload.readUInt32BE(4)}`);
      default:
        return true;
    }
  }

  onFrameData(piece: Buffer, last: boolean): boolean {
    if (this.id !== STREAM) return true;
    if (this.message.length + piece.length > MAX_MESSAGE) return this.say("too long an answer");
    this.message = Buffer.concat([this.message, piece]);
    return last && (this.flags & h2.FLAG.END_STREAM) !== 0 ? this.judge() : true;
  }

  onBadPadding(): boolean {
    return this.say("not an HTTP/2 response");
  }

  onBadPreface(): boolean {
    return false;
  }

  private takeBlock(payload: Buffer): boolean {
    let from = 0;
    let until = payload.length;
    if (this.type === h2.HEADERS) {
      this.blockEnds = (this.flags & h2.FLAG.END_STREAM) !== 0;
      if ((this.flags & h2.FLAG.PADDED) !== 0) {
        from = 1;
        until -= payload[0] ?? 0;
      }
      if ((this.flags & h2.FLAG.PRIORITY) !== 0) from += 5;
      if (from > until) return this.say("not an HTTP/2 response");
    }
    this.block = Buffer.concat([this.block, payload.subarray(from, until)]);
    if ((this.flags & h2.FLAG.END_HEADERS) === 0) return true;
    const { block } = this;
    this.block = NOTHING;
    if (this.decoder.decode(block, { field: MAX_HEAD, all: MAX_HEAD }) !== undefined) {
      return this.say("a header block that cannot be decoded");
    }
    return this.id === STREAM ? this.takeFields() : true;
  }

  /** The head, or the trailer. */
  private takeFields(): boolean {
    const { reader, blockEnds } = this;
    if (this.headed) {
      if (!blockEnds || !reader.takeTrailer(this.decoder))
        return this.say(reasonOf(reader.error) || "an invalid trailer");
      const trailers = reader.takeTrailers();
      this.status = trailers?.get("grpc-status") ?? this.status;
      this.said = trailers?.get("grpc-message") ?? this.said;
      return this.judge();
    }
    reader.takeHead(this.decoder, blockEnds);
    const code = reader.readHead();
    if (code === INFORMATIONAL) {
      reader.begin(MAX_HEAD);
      return true;
    }
    if (code !== HEAD) return this.say(reasonOf(reader.error));
    this.headed = true;
    const { status, headers } = reader.head;
    if (status !== 200) return this.say(`status ${status}`);
    this.status = headers.get("grpc-status") ?? "";
    this.said = headers.get("grpc-message") ?? "";
    return blockEnds ? this.judge() : true;
  }

  /** The call is over. */
  private judge(): boolean {
    const { status, expected } = this;
    if (status === "") return this.say("no grpc-status");
    if (status !== String(expected)) return this.say(otherStatus(status, this.said));
    if (expected !== 0) return this.say(PASS);
    const serving = servingStatus(this.message);
    if (serving === undefined) return this.say("not an answer of grpc.health.v1.Health");
    return this.say(serving === SERVING ? PASS : (STATUSES[serving] ?? `serving status ${serving}`));
  }

  private say(verdict: Verdict): false {
    this.verdict = verdict;
    return false;
  }
}

/** The reason of a call that ended with another status than the one that passes. */
function otherStatus(status: string, said: string): string {
  if (!/^\d{1,3}$/.test(status)) return "grpc-status that is no number";
  const name = CODES[Number(status)];
  const text = unescapeUri(said.slice(0, 3 * MAX_SAID), UNESCAPE_ALL).slice(0, MAX_SAID);
  return `grpc-status ${status}${name === undefined ? "" : ` (${name})`}${text === "" ? "" : `: ${text}`}`;
}

/** The whole request: the connection's preface, and the call with its one message. */
function request(service: string, authority: string, secure: boolean): string {
  const block =
    encodeField(":method", "POST") +
    encodeField(":scheme", secure ? "https" : "http") +
    encodeField(":path", "/grpc.health.v1.Health/Check") +
    encodeField(":authority", authority) +
    encodeField("content-type", "application/grpc") +
    encodeField("te", "trailers") +
    encodeField("user-agent", "holdfast (health check)");
  // HealthCheckRequest: field 1 is the service, a string.
  const name = service === "" ? "" : `\n${varint(service.length)}${service}`;
  // A flag, which says that it is not compressed, and the message's length.
  const message = `\0\0\0${String.fromCharCode(name.length >> 8, name.length & 0xff)}${name}`;
  return (
    h2.PREFACE +
    h2.settingsFrame([
      [h2.SETTING.HEADER_TABLE_SIZE, 0],
      [h2.SETTING.ENABLE_PUSH, 0],
    ]) +
    h2.headersFrames(STREAM, block, false, h2.DEFAULT_FRAME_SIZE) +
    h2.frameHead(message.length, h2.DATA, h2.FLAG.END_STREAM, STREAM) +
    message
  );
}

function varint(value: number): string {
  let text = "";
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) text += String.fromCharCode((rest & 0x7f) | 0x80);
  return text + String.fromCharCode(rest);
}

/** The status in a message of HealthCheckResponse, whose field 1 it is; undefined: it is none. Without the field it is 0. */
function servingStatus(bytes: Buffer): number | undefined {
  if (bytes.length < 5 || bytes[0] !== 0 || bytes.readUInt32BE(1) !== bytes.length - 5) return undefined;
  const message = bytes.subarray(5);
  if (message.length === 0) return 0;
  return message.length === 2 && message[0] === 0x08 && message[1] < 0x80 ? message[1] : undefined;
}
