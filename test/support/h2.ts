import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionOptions,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { DATA, FLAG, frameHead, HEADERS, PREFACE, settingsFrame } from "../../src/wire/h2/frames.ts";
import { encodeField } from "../../src/wire/h2/hpack_encoder.ts";
import { waitFor } from "./wait.ts";

/** Clients of HTTP/2: Node's, and one that sends what bytes it likes. */

export interface H2Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly trailers: IncomingHttpHeaders;
}

/** A session of Node's own client; closed at the end of the test. */
export function h2Session(t: TestContext, url: string, options: ClientSessionOptions = {}): ClientHttp2Session {
  const session = connect(url, { rejectUnauthorized: false, ...options });
  session.on("error", () => {});
  t.after(() => session.destroy());
  return session;
}

/** A request on a session; `body`: what is sent with it. */
export function h2Request(
  session: ClientHttp2Session,
  fields: OutgoingHttpHeaders,
  body?: string | Buffer,
): Promise<H2Answer> {
  const stream = session.request(fields, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  return h2Answer(stream);
}

export function h2Answer(stream: ClientHttp2Stream): Promise<H2Answer> {
  return new Promise((resolve, reject) => {
    let headers: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders = {};
    let body = "";
    stream.on("response", (fields) => {
      headers = fields;
    });
    stream.on("trailers", (fields) => {
      trailers = fields;
    });
    stream.setEncoding("latin1");
    stream.on("data", (text: string) => {
      body += text;
    });
    stream.on("error", reject);
    stream.on("close", () => resolve({ status: Number(headers[":status"]), headers, body, trailers }));
  });
}

export interface RawFrame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** A connection on which the test says each byte. */
export class RawH2 {
  readonly socket: Socket;
  readonly frames: RawFrame[] = [];
  /** Gets each frame when it has come. */
  onFrame: ((frame: RawFrame) => void) | undefined = undefined;
  ended = false;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("data", (bytes: Buffer) => this.#read(bytes));
    socket.on("close", () => {
      this.ended = true;
    });
    socket.on("end", () => {
      this.ended = true;
    });
  }

  /** Opens a connection and sends the preface and SETTINGS. */
  static async open(
    t: TestContext,
    port: number,
    settings: readonly (readonly [number, number])[] = [],
    host = "127.0.0.1",
  ): Promise<RawH2> {
    const socket = connectTcp({ port, host });
    t.after(() => socket.destroy());
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    const connection = new RawH2(socket);
    connection.write(PREFACE + settingsFrame(settings));
    return connection;
  }

  /**
   * Opens one, and has an answer on stream 1: for a server whose client_header_timeout is short. Tried again where this process was
   * held up for so long.
   */
  static openAnswered(t: TestContext, port: number, path: string): Promise<RawH2> {
    return waitFor(async () => {
      const connection = await RawH2.open(t, port);
      connection.write(connection.get(1, path));
      const answered = () => connection.frames.some(({ type, stream }) => type === DATA && stream === 1);
      await waitFor(() => connection.ended || answered(), "an answer");
      return answered() && connection;
    }, "an answer in time");
  }

  /** Byte strings. */
  write(...texts: string[]): void {
    this.socket.write(Buffer.from(texts.join(""), "latin1"));
  }

  /** The frames of a GET with these further fields. */
  get(
    stream: number,
    path: string,
    fields: readonly (readonly [string, string])[] = [],
    flags: number = FLAG.END_STREAM,
  ): string {
    return this.head(
      stream,
      [[":method", "GET"], [":scheme", "http"], [":path", path], [":authority", "localhost"], ...fields],
      flags,
    );
  }

  head(stream: number, fields: readonly (readonly [string, string])[], flags: number = FLAG.END_STREAM): string {
    const block = fields.map(([name, value]) => encodeField(name, value)).join("");
    return frameHead(block.length, HEADERS, flags | FLAG.END_HEADERS, stream) + block;
  }

  /** The first frame of that type (and stream) that has come or comes. */
  async frame(type: number, stream?: number): Promise<RawFrame> {
    const find = () => this.frames.find((one) => one.type === type && (stream === undefined || one.stream === stream));
    await waitFor(() => find() !== undefined || this.ended, `a frame of type ${type}`);
    const found = find();
    if (found === undefined) throw new Error(`no frame of type ${type} before the end`);
    return found;
  }

  #read(bytes: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    while (this.#bytes.length >= 9) {
      const length = this.#bytes.readUIntBE(0, 3);
      if (this.#bytes.length < 9 + length) return;
      const [, , , type, flags] = this.#bytes;
      const [stream, payload] = [this.#bytes.readUInt32BE(5), this.#bytes.subarray(9, 9 + length)];
      const frame = { type, flags, stream, payload };
      this.frames.push(frame);
      this.#bytes = this.#bytes.subarray(9 + length);
      this.onFrame?.(frame);
    }
  }
}
