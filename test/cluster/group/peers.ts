import { Connections } from "../../../src/cluster/group/connections.ts";
import { Identity } from "../../../src/cluster/group/identity.ts";
import { type AnswerBody, encodeBody, type RequestBody } from "../../../src/cluster/group/messages.ts";
import { Refusals } from "../../../src/cluster/group/refusals.ts";
import { ReplayGuard } from "../../../src/cluster/group/replay_guard.ts";
import { type Answerer, Responder } from "../../../src/cluster/group/responder.ts";
import { Secrets } from "../../../src/cluster/secret.ts";
import { encodeFrame, type Frame, FrameReader, KIND, PROTOCOL, type ReceivedFrame } from "../../../src/wire/cluster.ts";
import { FakeStream } from "../../http/server/h1/fake_stream.ts";

export const SECRET = "a secret of sixteen";
export const CLUSTER = "test";

export const FACTS: AnswerBody["facts"] = {
  state: "serving",
  version: "1",
  configuration: "abc",
  connections: 0,
  requests: 0,
};

/** The answering side of node lb1, which knows a node lb2, without a socket. */
export class Asked implements Answerer {
  readonly identity: Identity;
  readonly guard = new ReplayGuard();
  readonly refusals = new Refusals();
  readonly connections = new Connections(500, this.refusals);
  readonly log: string[] = [];
  security: Answerer["security"] = undefined;
  answered = 0;
  changes: AnswerBody["changes"] = { from: 0, to: 1, opinions: {} };

  constructor() {
    this.identity = new Identity(CLUSTER, "lb1", 1n, new Secrets(CLUSTER, [SECRET]), this.refusals);
  }

  answer({ from }: RequestBody): AnswerBody | undefined {
    if (from !== "lb2") return undefined;
    this.answered++;
    return { cluster: CLUSTER, from: "lb1", facts: FACTS, changes: this.changes };
  }

  refused(host: string, reason: string, node?: string): void {
    this.log.push(`${node === undefined ? host : `node "${node}" at ${host}`} ${reason}`);
  }

  /** A connection to it. */
  connect(): FakeStream {
    const stream = new FakeStream();
    stream.handler = new Responder(stream, this);
    return stream;
  }
}

export function give(stream: FakeStream, bytes: Buffer): void {
  if (!stream.closed) stream.handler.onData(stream, Buffer.from(bytes));
}

/** The frames that were written, with their bodies. */
export function saidIn(stream: FakeStream): (ReceivedFrame & { readonly said: Record<string, unknown> })[] {
  const frames = new FrameReader().read(Buffer.from(stream.written, "latin1"));
  return frames.map((frame) => ({ ...frame, said: JSON.parse(frame.body.toString()) }));
}

export interface Asking {
  readonly secret?: string;
  readonly frame?: Partial<Frame>;
  readonly body?: Partial<RequestBody> & Readonly<Record<string, unknown>>;
}

let number = 0n;

/** A request of lb2 to lb1. */
export function request({ secret = SECRET, frame = {}, body = {} }: Asking = {}): Buffer {
  const asked = { cluster: CLUSTER, from: "lb2", to: "lb1", run: "", known: 0, ...body };
  const head = { version: 1, ...PROTOCOL, kind: KIND.request, run: 2n, number: ++number, time: Date.now() };
  const whole: Frame = { ...head, echoRun: 0n, echoNumber: 0n, body: encodeBody(asked), ...frame };
  return encodeFrame(whole, new Secrets(CLUSTER, [secret]).sign);
}
