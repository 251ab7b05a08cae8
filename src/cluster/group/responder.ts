import { hostText } from "../../net/address.ts";
import type { Stream, StreamHandler } from "../../net/stream.ts";
import { clearDeadline, Deadline, setDeadline } from "../../sys/timers.ts";
import { commonVersion, FrameReader, KIND, type ReceivedFrame } from "../../wire/cluster.ts";
import type { Identity } from "./identity.ts";
import { type AnswerBody, decodeRequest, encodeBody, type RequestBody } from "./messages.ts";
import type { ReplayGuard } from "./replay_guard.ts";

/** Bytes of a request's body. */
const MOST_REQUEST = 4096;
/** How long a client may take to send a request, and be silent between two, ms. */
const PATIENCE_MS = 60_000;

export interface Answerer {
  readonly identity: Identity;
  readonly guard: ReplayGuard;
  /** What is answered to a node of the group; undefined: there is no such node. */
  answer(request: RequestBody): AnswerBody | undefined;
  /** A message that changes nothing. `reason`: a sentence without the peer. */
  refused(peer: string, reason: string): void;
}

/** A connection on which another node asks. */
export class Responder implements StreamHandler {
  readonly #stream: Stream;
  readonly #answerer: Answerer;
  readonly #reader = new FrameReader(MOST_REQUEST);
  readonly #deadline: Deadline<Responder>;
  readonly #closed: () => void;

  constructor(stream: Stream, answerer: Answerer, closed: () => void) {
    this.#stream = stream;
    this.#answerer = answerer;
    this.#closed = closed;
    this.#deadline = new Deadline<Responder>(this, expired);
    setDeadline(this.#deadline, PATIENCE_MS);
    stream.setNoDelay(true);
  }

  destroy(): void {
    this.#stream.destroy();
  }

  onData(stream: Stream, bytes: Buffer): void {
    setDeadline(this.#deadline, PATIENCE_MS);
    for (const frame of this.#reader.read(bytes)) this.#take(frame);
    const { error } = this.#reader;
    if (error === undefined || stream.closed) return;
    this.#answerer.refused(hostText(stream.remote), error);
    stream.destroy();
  }

  #take(frame: ReceivedFrame): void {
    const { identity, guard } = this.#answerer;
    if (!identity.verifies(frame)) {
      this.#refuse(
        frame,
        "does not verify: has it another secret?",
        "your message does not verify: have you another secret?",
      );
      return;
    }
    const wall = identity.wall();
    const verdict = guard.judge(frame.run, frame.number, frame.time, wall, performance.now());
    const request = frame.kind === KIND.request ? decodeRequest(frame.body) : undefined;
    if (verdict === "replayed") {
      this.#refuse(frame, "was sent before", "your message was sent before");
    } else if (verdict === "clock") {
      const apart = Math.round((frame.time - wall) / 1000);
      const text = `${Math.abs(apart)} s ${apart > 0 ? "ahead" : "behind"}`;
      this.#refuse(frame, `has a clock that is ${text}`, `your clock is ${text}`, request?.from);
    } else if (commonVersion(frame) === undefined) {
      this.#refuse(
        frame,
        `is of version ${frame.oldest} of the protocol or later`,
        "your protocol has another version",
      );
    } else if (request === undefined) {
      this.#refuse(frame, "is malformed", "your message is malformed");
    } else this.#answer(frame, request);
  }

  #answer(frame: ReceivedFrame, request: RequestBody): void {
    const { identity } = this.#answerer;
    const { cluster, to, from } = request;
    if (cluster !== identity.cluster || to !== identity.node) {
      const [meant, own] = [
        `node "${to}" of cluster "${cluster}"`,
        `node "${identity.node}" of cluster "${identity.cluster}"`,
      ];
      this.#refuse(frame, `is for ${meant}`, `this is ${own}`, from);
      return;
    }
    const answer = this.#answerer.answer(request);
    if (answer === undefined)
      this.#refuse(
        frame,
        `comes from a node "${from}", which is not in this configuration`,
        `there is no node "${from}" here`,
      );
    else this.#stream.write(identity.frame(KIND.answer, encodeBody(answer), frame).bytes);
  }

  /** `seen` is for the log here, `told` for the other node's. */
  #refuse(frame: ReceivedFrame, seen: string, told: string, from?: string): void {
    const { identity } = this.#answerer;
    const host = hostText(this.#stream.remote);
    this.#answerer.refused(from === undefined ? host : `node "${from}" at ${host}`, seen);
    this.#stream.write(identity.frame(KIND.refusal, encodeBody({ error: told }), frame).bytes);
    this.#stream.end();
  }

  /** An answer that is not read: the next request is not either. */
  onDrain(): void {}

  onEnd(stream: Stream): void {
    stream.end();
  }

  onClose(): void {
    clearDeadline(this.#deadline);
    this.#closed();
  }
}

function expired(responder: Responder): void {
  responder.destroy();
}
