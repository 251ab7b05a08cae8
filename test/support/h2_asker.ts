/** A request to a server of HTTP/2 in memory, as its passage would have it, for a client that does as chance has it. */
import assert from "node:assert/strict";
import type { Peer } from "../../src/balancer/peer.ts";
import type { Pool } from "../../src/balancer/pool.ts";
import type { Request } from "../../src/http/core/request.ts";
import { connectionTo } from "../../src/http/upstream/connection_choice.ts";
import { GRPC, HTTP2 } from "../../src/http/upstream/h2/protocol.ts";
import { ServerStream } from "../../src/http/upstream/h2/stream.ts";
import type { KeptBody } from "../../src/http/upstream/kept_body.ts";
import { DATA, LAST, MORE, OVER, type UpstreamTarget } from "../../src/http/upstream/protocol.ts";
import type { AnswerSink, ConnectionUser, ServerExchange } from "../../src/http/upstream/server_exchange.ts";
import { UpstreamState } from "../../src/http/upstream/variables.ts";
import { SlabQueue } from "../../src/net/slabs.ts";
import { encodeField } from "../../src/wire/h2/hpack_encoder.ts";
import type { MeantAnswers } from "./h2_streams.ts";
import type { Chance } from "./mutations.ts";

/** Whose request it is. */
export interface Asking {
  readonly chance: Chance;
  readonly pool: Pool;
  /** What the server whose bytes are being read has answered. */
  readonly serving: MeantAnswers | undefined;
}

const TIMEOUT = 60_000;
const MOST_REFUSALS = 3;
const PEER = { name: "server", address: { family: "ipv4", host: "127.0.0.1", port: 1 } } as unknown as Peer;
const BLOCK = [":method GET", ":scheme http", ":path /", ":authority a"]
  .map((field) => field.split(" "))
  .map(([name, value]) => encodeField(name, value))
  .join("");
const LARGE = new SlabQueue();
LARGE.push(Buffer.alloc(200_000, "large"));
const SMALL = new SlabQueue();
SMALL.push(Buffer.from("small"));

/** Streams of a recorded conversation that are broken off, refused, or whose heads are too large for some. */
const FAILING = new Set([11, 13, 19]);

/** How much of a body comes from its client at a time, and how often. */
const PIECE = Buffer.alloc(7000, "piece");
export const PIECES = 20;

export class Asker implements ConnectionUser, AnswerSink {
  readonly doing = "reading upstream";
  readonly request: Request;
  readonly target: UpstreamTarget;
  kept: KeptBody | undefined = undefined;
  present = new UpstreamState("server");
  /** How often it has ended, and how. */
  ends = 0;
  outcome = "";
  readonly #asking: Asking;
  readonly #repeatable: boolean;
  #exchange: ServerExchange | undefined = undefined;
  #tries = 2;
  #refusals = 0;
  /** Its answer: what its server means, and what came. */
  #meant: MeantAnswers | undefined = undefined;
  #status = 0;
  readonly #body: Buffer[] = [];
  /** Pieces of its body that its client has not sent; whether these are asked for, and taken. */
  #pieces = 0;
  #wanted = false;
  #held = false;

  constructor(asking: Asking) {
    const { chance } = asking;
    this.#asking = asking;
    const kind = chance.below(5);
    const data = kind === 2 ? SMALL : kind === 3 ? LARGE : undefined;
    const wants = chance.below(8) === 0;
    this.#repeatable = data === undefined;
    if (kind === 4) this.#pieces = 1 + chance.below(PIECES);
    this.request = {
      location: { errorLog: { wants: () => wants, write: () => {} } },
      server: { name: "" },
      requestLine: "",
      remote: { family: "unix", path: "" },
      headers: { get: () => undefined },
      connection: { number: 1 },
      body: data && { file: undefined, length: data.length, data, memory: () => data.whole() },
      bodyEnded: kind !== 4,
      exchange: {
        pauseBody: () => {
          this.#held = true;
        },
        resumeBody: () => {
          this.#held = false;
        },
      },
    } as unknown as Request;
    this.target = {
      settings: {
        bufferSize: chance.below(2) === 0 ? 4096 : 65_536,
        connectTimeout: TIMEOUT,
        sendTimeout: TIMEOUT,
        readTimeout: TIMEOUT,
        protocol: chance.below(2) === 0 ? HTTP2 : GRPC,
        place: "",
        passRequestBody: true,
        earlyHints: [],
        socketKeepalive: false,
      },
      head: BLOCK,
      headRequest: chance.below(16) === 0,
    } as unknown as UpstreamTarget;
  }

  toString(): string {
    const { outcome, ends } = this;
    return `a request that ended ${ends} times (${outcome}), now ${this.#exchange?.doing}`;
  }

  ask(): void {
    this.present = new UpstreamState("server");
    this.#exchange = connectionTo(PEER, this.target, this.request, this.#asking.pool, false);
    this.#exchange.begin(this);
  }

  // ---- what its client does

  leave(): void {
    if (this.ends === 0) this.#end("its client has left", false);
  }

  pause(): void {
    if (this.#exchange?.answered === true) this.#exchange.pause();
  }

  goOn(): void {
    if (this.#exchange?.isPaused === true) {
      this.#exchange.arm(TIMEOUT);
      this.#exchange.resume();
    }
  }

  /** Sends a piece of its body, if that is taken. */
  sendMore(): void {
    const { request } = this;
    if (!this.#wanted || this.#held || request.bodyEnded) return;
    if (this.#pieces-- > 0) {
      this.#exchange?.sender.onBody(PIECE);
      return;
    }
    request.bodyEnded = true;
    this.#exchange?.sender.onBodyEnd();
  }

  // ---- ConnectionUser

  startBody(): void {
    this.#wanted = true;
  }

  onHead(exchange: ServerExchange): void {
    const { chance, serving } = this.#asking;
    const { reader } = exchange;
    reader.frame(this.target.headRequest, false);
    this.#status = reader.head.status;
    this.#meant = serving;
    if (this.#status >= 500 && this.#tries > 1 && chance.below(2) === 0) {
      this.nextUpstream("http_503");
      return;
    }
    if (chance.below(16) === 0) {
      this.#end("its answer is not wanted", true);
      return;
    }
    exchange.passTo(this);
    if (reader.whole) this.#end("answered", true);
    else if (!exchange.reading) this.onServerRead();
  }

  nextUpstream(condition: string): void {
    const exchange = this.#exchange;
    if (exchange === undefined) throw new Error("a request without a server has failed");
    const { refused, sender } = exchange;
    const again = sender.mayMove(this.#repeatable, refused);
    const stale = condition === "error" && exchange.reused;
    if (refused && again && this.kept?.started === true && !this.request.bodyEnded) this.#held = true;
    const free = refused ? ++this.#refusals <= MOST_REFUSALS : stale;
    if (!free) this.#tries--;
    if (!again || this.#tries <= 0) {
      this.#end(condition, false);
      return;
    }
    this.#status = 0;
    this.#meant = undefined;
    this.#exchange = undefined;
    exchange.release("", this.#asking.pool, false);
    this.ask();
  }

  finalize(code: number): void {
    this.#end(`finalized with ${code}`, false);
  }

  onFault(error: unknown): void {
    throw error;
  }

  // ---- AnswerSink

  onServerData(bytes: Buffer): void {
    const exchange = this.#exchange;
    if (exchange === undefined) throw new Error("bytes for a request that is over");
    const { reader } = exchange;
    const code = reader.readBody(bytes, 0);
    if (code === DATA || code === LAST) this.#body.push(Buffer.from(bytes.subarray(reader.dataStart, reader.dataEnd)));
    if (code === LAST || code === OVER) {
      this.#end("answered", true);
      return;
    }
    if (code !== DATA && code !== MORE) {
      this.#end(reader.error, false);
      return;
    }
    const { chance } = this.#asking;
    if (chance.below(64) === 0) this.leave();
    else if (chance.below(8) === 0) exchange.pause();
    else if (!exchange.reading) this.onServerRead();
  }

  onServerRead(): void {
    this.#exchange?.arm(TIMEOUT);
  }

  onServerEnd(): void {
    this.#end("the connection has ended", false);
  }

  onServerClose(): void {
    this.onServerEnd();
  }

  onTimeout(): void {
    if (this.#exchange?.isPaused === true) this.#exchange.arm(TIMEOUT);
    else this.#end("the answer has stopped", false);
  }

  onRequestSent(): void {
    this.#exchange?.arm(TIMEOUT);
  }

  #end(outcome: string, well: boolean): void {
    this.ends++;
    this.outcome = outcome;
    const exchange = this.#exchange;
    this.#exchange = undefined;
    const id = exchange instanceof ServerStream ? exchange.id : 0;
    const meant = this.#meant ?? this.#asking.serving;
    if (meant?.right === true && /invalid_header|finalized/.test(outcome)) {
      assert.ok(FAILING.has(id) || this.target.headRequest, `${outcome} on stream ${id}, which was answered`);
    }
    if (this.#status > 0) {
      const whole = outcome === "answered";
      const bodiless = this.target.headRequest || this.#status === 204 || this.#status === 304;
      this.#meant?.check(id, this.#status, Buffer.concat(this.#body), whole, bodiless);
      if (whole && exchange?.sender.whole === true) this.#meant?.over.add(id);
    }
    exchange?.release("", this.#asking.pool, well);
  }
}
