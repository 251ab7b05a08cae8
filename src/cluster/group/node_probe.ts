import { PASS, type Probe, type Verdict } from "../../health/probe.ts";
import type { TlsClientSettings } from "../../net/tls/client.ts";
import { commonVersion, FrameReader, KIND, PROTOCOL, type ReceivedFrame } from "../../wire/cluster.ts";
import { answers, type Identity, runText } from "./identity.ts";
import type { Member } from "./member.ts";
import { decodeAnswer, decodeRefusal, encodeBody } from "./messages.ts";
import type { RefusedKind } from "./refusals.ts";

/** How another node is asked over TLS. */
export interface NodeTls {
  readonly settings: TlsClientSettings;
  /** In clear too, until it says that it may be asked so. */
  readonly optional: boolean;
}

/** Asks another node how it does. What it answers is the member's; a check passes when the answer is one of that node. */
export class NodeProbe implements Probe {
  readonly #identity: Identity;
  readonly #member: Member;
  readonly #heard: (member: Member) => void;
  readonly #tls: NodeTls | undefined;
  #reader = new FrameReader();
  #number = 0n;
  #sentAt = 0;
  #answered = false;
  /** A handshake has begun. */
  #shaking = false;
  /** The connection is over TLS. */
  #secured = false;

  /** `heard` is called with each answer. */
  constructor(identity: Identity, member: Member, heard: (member: Member) => void, tls?: NodeTls) {
    this.#identity = identity;
    this.#member = member;
    this.#heard = heard;
    this.#tls = tls;
  }

  /** Where both ways are open, a node is asked over TLS that has said so, and in clear again after a handshake that failed. */
  tls(): TlsClientSettings | undefined {
    const failed = this.#shaking;
    this.#secured = this.#tls !== undefined && (!this.#tls.optional || (this.#member.tls && !failed));
    this.#shaking = this.#secured;
    if (failed && !this.#secured) this.#member.tls = false;
    return this.#secured ? this.#tls?.settings : undefined;
  }

  get send(): Buffer {
    const { cluster, node: from } = this.#identity;
    const { name: to, run, known } = this.#member;
    const { bytes, number } = this.#identity.frame(KIND.request, encodeBody({ cluster, from, to, run, known }));
    this.#number = number;
    this.#sentAt = performance.now();
    return bytes;
  }

  begin(): void {
    this.#reader = new FrameReader();
    this.#answered = false;
  }

  connected(): undefined {
    this.#shaking = false;
    this.#member.encrypted = this.#secured;
    return undefined;
  }

  data(bytes: Buffer): Verdict | undefined {
    const [frame] = this.#reader.read(bytes);
    if (frame === undefined) {
      const { error } = this.#reader;
      return error === undefined ? undefined : this.#refused("malformed", `its answer ${error}`);
    }
    this.#answered = true;
    return this.#judge(frame);
  }

  end(): Verdict {
    return "closed the connection without an answer";
  }

  get reusable(): boolean {
    const secures = this.#tls !== undefined && this.#member.tls && !this.#secured;
    return this.#answered && this.#reader.pending === 0 && !secures;
  }

  get unfinished(): boolean {
    return false;
  }

  #judge(frame: ReceivedFrame): Verdict {
    const { cluster, run } = this.#identity;
    const { name } = this.#member;
    // Whose answer it is has to be known before anything in it is believed.
    if (!this.#identity.verifies(frame)) {
      return this.#refused("foreign", "its answer does not verify: has it another secret?");
    }
    if (!answers(frame, run, this.#number)) return this.#refused("replayed", "answers another request than this one");
    this.#member.protocol = versions(frame);
    if (frame.kind === KIND.refusal) {
      const { error = "refuses without a reason", tls = false } = decodeRefusal(frame.body) ?? {};
      this.#member.tls = tls;
      return error;
    }
    if (commonVersion(frame) === undefined) {
      return this.#refused("version", `speaks ${versions(frame)} of the protocol, this node ${versions(PROTOCOL)}`);
    }
    const answer = decodeAnswer(frame.body);
    if (answer === undefined) return this.#refused("malformed", "its answer is malformed");
    if (answer.cluster !== cluster) {
      return this.#refused("misdirected", `is a node of cluster "${answer.cluster}"`);
    }
    if (answer.from !== name) return this.#refused("misdirected", `is node "${answer.from}"`);
    this.#member.tls = answer.tls === true;
    const now = performance.now();
    // The answer was made somewhere on the way there and back.
    const clockAhead = frame.time - (this.#identity.wall() - (now - this.#sentAt) / 2);
    if (!this.#member.heard(runText(frame.run), answer, clockAhead, now)) {
      return this.#refused("malformed", "has opinions of more subjects than a node can mean");
    }
    this.#heard(this.#member);
    return PASS;
  }

  #refused(kind: RefusedKind, reason: string): Verdict {
    this.#identity.refusals.count(kind);
    return reason;
  }
}

function versions({ oldest, newest }: { readonly oldest: number; readonly newest: number }): string {
  return oldest === newest ? `version ${newest}` : `versions ${oldest} to ${newest}`;
}
