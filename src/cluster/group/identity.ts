import { commonVersion, encodeFrame, type Frame, KIND, PROTOCOL, type ReceivedFrame } from "../../wire/cluster.ts";
import type { Secrets } from "../secret.ts";
import { Refusals } from "./refusals.ts";

/** What all messages of this node's checker have in common. */
export class Identity {
  readonly cluster: string;
  readonly node: string;
  readonly run: bigint;
  readonly secrets: Secrets;
  /** Messages of others that changed nothing. */
  readonly refusals: Refusals;
  /** ms since 1970; tests replace it. */
  readonly wall: () => number;
  #number = 0n;

  /** `run`: a random number. */
  constructor(
    cluster: string,
    node: string,
    run: bigint,
    secrets: Secrets,
    refusals = new Refusals(),
    wall = Date.now,
  ) {
    this.cluster = cluster;
    this.node = node;
    this.run = run;
    this.secrets = secrets;
    this.refusals = refusals;
    this.wall = wall;
  }

  /** The next message. `answered`: the one it answers. */
  frame(kind: number, body: Buffer, answered?: Frame): { readonly bytes: Buffer; readonly number: bigint } {
    const number = ++this.#number;
    const version = (answered && commonVersion(answered)) ?? PROTOCOL.newest;
    const { run } = this;
    const echo = { echoRun: answered?.run ?? 0n, echoNumber: answered?.number ?? 0n };
    const frame = { version, ...PROTOCOL, kind, run, number, time: this.wall(), ...echo, body };
    return { bytes: encodeFrame(frame, this.secrets.sign), number };
  }

  verifies({ signed, signature }: ReceivedFrame): boolean {
    return this.secrets.verifies(signed, signature);
  }
}

/** Whether a frame answers the request of that number of this run. */
export function answers({ kind, echoRun, echoNumber }: Frame, run: bigint, number: bigint): boolean {
  return kind !== KIND.request && echoRun === run && echoNumber === number;
}

export function runText(run: bigint): string {
  return run.toString(16).padStart(16, "0");
}
