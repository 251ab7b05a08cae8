import { hostText } from "../../net/address.ts";
import type { Stream, StreamHandler } from "../../net/stream.ts";
import type { SslConnection } from "../../sys/openssl/ssl.ts";
import { clearDeadline, Deadline, setDeadline } from "../../sys/timers.ts";
import { commonVersion, FrameReader, KIND, type ReceivedFrame } from "../../wire/cluster.ts";
import type { Connections } from "./connections.ts";
import type { Identity } from "./identity.ts";
import { type AnswerBody, decodeRequest, encodeBody, type RequestBody } from "./messages.ts";
import type { RefusedKind } from "./refusals.ts";
import type { ReplayGuard } from "./replay_guard.ts";

/** Bytes of a request's body. */
const MOST_REQUEST = 4096;
/** How long whoever connects may take for a whole request (and before it for TLS), and a node be silent between two, ms. */
export const HASTE_MS = 5000;
const PATIENCE_MS = 60_000;

/** What is asked of those who ask over TLS, or in clear. */
export interface Security {
  /** Messages in clear are answered too. */
  readonly optional: boolean;
  /** Why that node's certificate is refused, with "its certificate" before it. */
  certificateFailure(ssl: SslConnection, node: string): string | undefined;
}

export interface Answerer {
  readonly identity: Identity;
  readonly guard: ReplayGuard;
  readonly connections: Connections;
  /** undefined: this node has no TLS. */
  readonly security: Security | undefined;
  /** What is answered to a node of the group, of which `asker` is a run; undefined: there is no such node. */
  answer(request: RequestBody, asker: bigint, host: string): AnswerBody | undefined;
  /** A message that changes nothing. `reason`: a sentence without the peer; `node`: who it says it is. */
  refused(host: string, reason: string, node?: string): void;
}

/** A message that is refused. `seen` is for the log here, `told` for the other node's. */
interface Refusal {
  readonly kind: RefusedKind;
  readonly seen: string;
  readonly told: string;
  /** The node that it says it is from; undefined where that is not known. */
  readonly from?: string | undefined;
}

/** A connection on which another node asks. After a refusal it is over. */
export class Responder implements StreamHandler {
  readonly #stream: Stream;
  readonly #answerer: Answerer;
  readonly #reader = new FrameReader(MOST_REQUEST);
  readonly #deadline: Deadline<Responder>;
  readonly #ssl: SslConnection | undefined;
  #over = false;
  /** The next answer is the last one. */
  #last = false;
  /** The node whose certificate has been shown. */
  #certified: string | undefined = undefined;

  /** `ssl`: of a stream over TLS. */
  constructor(stream: Stream, answerer: Answerer, ssl?: SslConnection) {
    this.#stream = stream;
    this.#answerer = answerer;
    this.#ssl = ssl;
    this.#deadline = new Deadline<Responder>(this, expired);
    setDeadline(this.#deadline, HASTE_MS);
    stream.setNoDelay(true);
    answerer.connections.accept(this);
  }

  destroy(): void {
    this.#stream.destroy();
  }

  leave(): void {
    this.#last = true;
  }

  onData(stream: Stream, bytes: Buffer): void {
    if (this.#over) return;
    for (const frame of this.#reader.read(bytes)) {
      if (this.#over) return;
      const refusal = this.#take(frame);
      if (refusal === undefined) continue;
      this.#refuse(frame, refusal);
      return;
    }
    const { error } = this.#reader;
    if (error === undefined || stream.closed) return;
    const { identity } = this.#answerer;
    identity.refusals.count("malformed");
    this.#answerer.refused(hostText(stream.remote), error);
    stream.destroy();
  }

  #take(frame: ReceivedFrame): Refusal | undefined {
    const { identity, guard } = this.#answerer;
    if (!identity.verifies(frame)) {
      const told = "your message does not verify: have you another secret?";
      return { kind: "foreign", seen: "does not verify: has it another secret?", told };
    }
    const wall = identity.wall();
    const verdict = guard.judge(frame.run, frame.number, frame.time, wall, performance.now());
    const request = frame.kind === KIND.request ? decodeRequest(frame.body) : undefined;
    const from = request?.from;
    if (verdict === "replayed")
      return { kind: "replayed", seen: "was sent before", told: "your message was sent before" };
    if (verdict === "crowded")
      return { kind: "flood", seen: "is of too many runs", told: "there are too many of you", from };
    if (verdict === "clock") {
      const apart = Math.round((frame.time - wall) / 1000);
      const text = `${Math.abs(apart)} s ${apart > 0 ? "ahead" : "behind"}`;
      return { kind: "clock", seen: `has a clock that is ${text}`, told: `your clock is ${text}`, from };
    }
    if (commonVersion(frame) === undefined) {
      const seen = `is of version ${frame.oldest} of the protocol or later`;
      return { kind: "version", seen, told: "your protocol has another version", from };
    }
    if (request === undefined) return { kind: "malformed", seen: "is malformed", told: "your message is malformed" };
    return this.#answer(frame, request);
  }

  #answer(frame: ReceivedFrame, request: RequestBody): Refusal | undefined {
    const { identity, connections } = this.#answerer;
    const { cluster, to, from } = request;
    if (cluster !== identity.cluster || to !== identity.node) {
      const seen = `is for node "${to}" of cluster "${cluster}"`;
      const told = `this is node "${identity.node}" of cluster "${identity.cluster}"`;
      return { kind: "misdirected", seen, told, from };
    }
    const insecure = this.#insecure(from);
    if (insecure !== undefined) return insecure;
    const answer = this.#answerer.answer(request, frame.run, hostText(this.#stream.remote));
    if (answer === undefined) {
      const seen = `comes from a node "${from}", which is not in this configuration`;
      return { kind: "unknown", seen, told: `there is no node "${from}" here` };
    }
    if (!connections.mayAsk(from, performance.now())) {
      return { kind: "flood", seen: "comes too soon after those before it", told: "you ask too often", from };
    }
    connections.identified(this, from);
    setDeadline(this.#deadline, PATIENCE_MS);
    const { bytes } = identity.frame(KIND.answer, encodeBody(answer), frame);
    connections.answered(from, bytes.length);
    // Answers that are not read: nothing more is until they are.
    if (!this.#stream.write(bytes)) this.#stream.pause();
    if (this.#last) {
      this.#over = true;
      this.#stream.end();
      setDeadline(this.#deadline, HASTE_MS);
    }
    return undefined;
  }

  #insecure(from: string): Refusal | undefined {
    const { security } = this.#answerer;
    if (security === undefined || this.#certified === from) return undefined;
    if (this.#ssl === undefined) {
      if (security.optional) return undefined;
      const told = "your message came in clear: this node is asked over TLS only";
      return { kind: "clear", seen: "came in clear, and this node is asked over TLS only", told, from };
    }
    const failure = security.certificateFailure(this.#ssl, from);
    if (failure !== undefined) {
      const told = `your certificate ${failure}`;
      return { kind: "certificate", seen: `is refused: its certificate ${failure}`, told, from };
    }
    this.#certified = from;
    return undefined;
  }

  #refuse(frame: ReceivedFrame, { kind, seen, told, from }: Refusal): void {
    const { identity, security } = this.#answerer;
    const host = hostText(this.#stream.remote);
    this.#over = true;
    identity.refusals.count(kind);
    this.#answerer.refused(host, seen, from);
    this.#stream.write(
      identity.frame(KIND.refusal, encodeBody({ error: told, tls: security !== undefined }), frame).bytes,
    );
    this.#stream.end();
    setDeadline(this.#deadline, HASTE_MS);
  }

  onDrain(stream: Stream): void {
    stream.resume();
  }

  onEnd(stream: Stream): void {
    stream.end();
  }

  onClose(): void {
    clearDeadline(this.#deadline);
    this.#answerer.connections.closed(this);
  }
}

function expired(responder: Responder): void {
  responder.destroy();
}
