import type { TlsClientSettings } from "../net/tls/client.ts";

/**
 * What a check says to a server and how it judges the answer, one file each in probes/. Connection, deadline, rise and fall
 * are CheckConnection's and the scheduler's.
 */
export interface Probe {
  /** How to agree on TLS on the connection that is there now, in place of what the check says; undefined: not at all. */
  readonly tls?: () => TlsClientSettings | undefined;
  /** What is sent when the connection is there; undefined: the server speaks first. */
  readonly send: Buffer | undefined;
  /** Resets it. Called before each check. */
  begin(): void;
  /** The connection is there. tcp has its verdict now; the others return undefined. */
  connected(): Verdict | undefined;
  /** More of the answer; `bytes` is lent. Called after the verdict too, while `reusable` is false. */
  data(bytes: Buffer): Verdict | undefined;
  /** The server closed its side before there was a verdict. */
  end(): Verdict;
  /** After the verdict: the answer was read to its end and the server keeps the connection, so it can serve another check. */
  readonly reusable: boolean;
  /** After the verdict: the rest of the answer may still come, and `reusable` with it. */
  readonly unfinished: boolean;
}

/** PASS, or a short sentence that says why the check failed. */
export type Verdict = string;
export const PASS: Verdict = "";
