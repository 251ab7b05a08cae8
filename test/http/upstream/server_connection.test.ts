import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Peer } from "../../../src/balancer/peer.ts";
import type { Request } from "../../../src/http/core/request.ts";
import type { AnswerHead } from "../../../src/http/core/upstream.ts";
import { connectionTo } from "../../../src/http/upstream/connection_choice.ts";
import {
  type AnswerReader,
  type BodyCoding,
  type CodecPort,
  DATA,
  INVALID,
  MORE,
  OVER,
  type UpstreamCodec,
  type UpstreamProtocol,
  type UpstreamTarget,
} from "../../../src/http/upstream/protocol.ts";
import type { AnswerSink, ConnectionUser } from "../../../src/http/upstream/server_exchange.ts";
import { UpstreamState } from "../../../src/http/upstream/variables.ts";
import { HEAD } from "../../../src/wire/http1/response_reader.ts";
import { tcpBackend } from "../../support/backend.ts";

/**
 * A protocol of frames, a letter, a digit and so many bytes, with what FastCGI and HTTP/2 have beyond HTTP/1: an error
 * stream (E), acknowledgements (P is answered with A), windows for the body (W opens one, D needs it).
 */
class ToyCodec implements UpstreamCodec, AnswerReader, BodyCoding {
  readonly reader = this;
  readonly head = { status: 200 } as AnswerHead;
  pos = 0;
  readonly early = undefined;
  dataStart = 0;
  dataEnd = 0;
  error = "";
  readonly excess = "";
  whole = false;
  room = 0;
  readonly end = "F0";
  readonly none = "F0";
  private readonly port: CodecPort;
  private requests = 0;

  constructor(port: CodecPort) {
    this.port = port;
  }

  get reusable(): boolean {
    return this.whole;
  }

  /** The first request begins with the connection's preface. */
  requestHead(head: string): string {
    return `${this.requests++ === 0 ? "PREFACE" : ""}H${head.length}${head}`;
  }
  bodyCoding(): BodyCoding {
    return this;
  }
  before(length: number): string {
    this.room -= length;
    return `D${length}`;
  }
  after(_length: number, last: boolean): string {
    return last ? "F0" : "";
  }

  begin(): void {
    this.whole = false;
  }
  readHead(bytes: Buffer, from: number): number {
    return this.next(bytes, from, HEAD);
  }
  readBody(bytes: Buffer, from: number): number {
    return this.next(bytes, from, DATA);
  }
  frame(): void {}
  endsWithConnection(): boolean {
    return false;
  }
  takeTrailers(): undefined {
    return undefined;
  }
  leaveHead(): void {}

  private next(bytes: Buffer, from: number, code: number): number {
    for (let at = from; at < bytes.length; at = this.dataEnd) {
      this.dataStart = at + 2;
      this.dataEnd = this.dataStart + bytes[at + 1] - 0x30;
      this.pos = this.dataEnd;
      switch (String.fromCharCode(bytes[at])) {
        case "W":
          this.room += this.dataEnd - this.dataStart;
          this.port.roomGrown();
          break;
        case "P":
          this.port.write("A0");
          break;
        case "E":
          this.port.log("error", `said "${bytes.latin1Slice(this.dataStart, this.dataEnd)}"`);
          break;
        case "H":
        case "D":
          return code;
        case "F":
          this.whole = true;
          return OVER;
        default:
          return INVALID;
      }
    }
    return MORE;
  }
}

const TOY: UpstreamProtocol = { identity: "toy", open: (port) => new ToyCodec(port) };

/** A request on its connection, as the passage would have it. */
class User implements ConnectionUser, AnswerSink {
  kept = undefined;
  readonly doing = "reading upstream";
  readonly present = new UpstreamState("toy");
  readonly request: Request;
  readonly target: UpstreamTarget;
  readonly logged: string[] = [];
  body = "";
  readonly answered: Promise<void>;
  readonly #peer: Peer;
  #resolve: () => void = () => {};
  #connection: ReturnType<typeof connectionTo>;

  constructor(port: number, body: string) {
    const errorLog = { wants: () => true, write: (_level: string, message: string) => this.logged.push(message) };
    const data = { at: () => Buffer.from(body) };
    this.request = {
      location: { errorLog },
      server: { name: "" },
      requestLine: "",
      remote: { family: "unix", path: "" },
      headers: { get: () => undefined },
      connection: { number: 1 },
      body: { file: undefined, length: body.length, data },
      bodyEnded: true,
    } as unknown as Request;
    const settings = { bufferSize: 100, connectTimeout: 60_000, sendTimeout: 60_000, readTimeout: 60_000 };
    this.target = {
      settings: { ...settings, protocol: TOY, passRequestBody: true },
      upstream: {},
      head: "get",
      lengthKnown: true,
    } as unknown as UpstreamTarget;
    this.answered = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#peer = { name: "toy", address: { family: "ipv4", host: "127.0.0.1", port } } as unknown as Peer;
    this.#connection = connectionTo(this.#peer, this.target, this.request, undefined, false);
    this.#connection.begin(this);
  }

  onHead(connection: ReturnType<typeof connectionTo>, bytes: Buffer): void {
    connection.passTo(this);
    this.#take(bytes, connection.reader.pos);
  }
  onServerData(bytes: Buffer): void {
    this.#take(bytes, 0);
  }
  onServerRead(): void {}
  #take(bytes: Buffer, from: number): void {
    const { reader } = this.#connection;
    let at = from;
    for (let code = reader.readBody(bytes, at); code === DATA; code = reader.readBody(bytes, at)) {
      this.body += bytes.latin1Slice(reader.dataStart, reader.dataEnd);
      at = reader.pos;
    }
    if (!reader.whole) return;
    this.#connection.release("", undefined, false);
    this.#resolve();
  }
  nextUpstream(condition: string): void {
    assert.fail(condition);
  }
  finalize(code: number): void {
    assert.fail(String(code));
  }
  startBody(): void {}
  onServerEnd(): void {}
  onServerClose(): void {}
  onTimeout(): void {}
  onFault(error: unknown): void {
    throw error;
  }
}

test("a codec acknowledges, logs, and opens windows for the request's body", async (t: TestContext) => {
  let heard = "";
  const backend = await tcpBackend(t, (connection) => {
    connection.socket.on("data", (bytes: Buffer) => {
      heard += bytes.latin1Slice();
      // One thing at a time: each answer of the codec brings the next frame.
      if (heard.endsWith("H3get")) connection.socket.write("W3xxxE5oh noP0");
      else if (heard.endsWith("A0")) connection.socket.write("W2xx");
      else if (heard.endsWith("F0")) connection.socket.write("H0D2okP0D1!F0");
    });
  });
  const user = new User(backend.port, "abcde");
  await user.answered;
  assert.equal(heard.replace(/A0$/, ""), "PREFACEH3getD3abcA0D2deF0");
  assert.equal(user.body, "ok!");
  assert.match(user.logged.join("\n"), /^said "oh no" while sending request to upstream, client: /);
});
