import type { Address } from "../net/address.ts";
import type { Attempt, BalanceInput, Binding } from "./attempt.ts";

/** A server of an upstream after name resolution: one address is one peer. All times in ms, as everywhere. */
export interface Peer {
  readonly index: number;
  readonly address: Address;
  /** nginx's text of the address, what $upstream_addr shows. */
  readonly name: string;
  /** The `server` directive's argument as written. */
  readonly server: string;
  readonly weight: number;
  readonly maxFails: number;
  readonly failTimeout: number;
  readonly maxConns: number;
  readonly slowStart: number;
  readonly backup: boolean;
  /** `down` parameter. */
  readonly down: boolean;
  /** `drain` parameter: only requests bound to it by `sticky` reach it. */
  readonly drain: boolean;
  /** `route=` parameter; "" without. */
  readonly route: string;
  /** By which requests are bound to it (nginx's SID); "" where nothing binds any. */
  readonly sid: string;
}

/** How an attempt ended: `failed` counts against max_fails (error, timeout, proxy_next_upstream status); `next` is a retry that does not. */
export type Outcome = "ok" | "failed" | "next";

/** What active checks say of an upstream's servers, by peer index (made by health/state.ts). One atomic load a call. */
export interface HealthView {
  up(peer: number): boolean;
}

/** An upstream as the proxy sees it: pick a server, say how it went. State is exact over all workers (shared zone). */
export interface Upstream {
  readonly name: string;
  readonly peers: readonly Peer[];
  /** `preferred`: the index of the peer to try first. While that one cannot be had, `binding` and the method decide. */
  begin(input: BalanceInput, preferred?: number, binding?: Binding): Attempt;
  /** Picks the next server: a peer, or undefined when there is none left ("no live upstreams"). Takes one of its connections. */
  next(attempt: Attempt): Peer | undefined;
  /** Gives the connection back and records the outcome. Called once for each successful `next`. */
  release(attempt: Attempt, outcome: Outcome): void;
  /** Peers an attempt could still try, as nginx counts `tries`: `attempt.tries`. */
  tries(attempt: Attempt): number;
  /** The response header has come; least_time learns from it. Cheap with every other method. */
  header(attempt: Attempt): void;
  /** The request is over and the attempt may be reused for another one. Optional, saves an allocation a request. */
  end(attempt: Attempt): void;
  /** undefined for an implicit upstream (proxy_pass to a host) and with `keepalive 0`. */
  readonly keepalive: KeepaliveSettings | undefined;
}

/** nginx 1.31.5 keeps 32 idle connections a named upstream where no `keepalive` says otherwise, each for its own location. */
export interface KeepaliveSettings {
  /** Idle connections kept in each worker, over all servers of the upstream. */
  readonly connections: number;
  readonly requests: number;
  /** ms */
  readonly time: number;
  readonly timeout: number;
  /** How many requests a connection carries at a time, where its protocol allows it (HTTP/2). */
  readonly streams: number;
  /** A connection is reused only by the location that opened it. */
  readonly local: boolean;
}

/** Words of a peer's record in the shared state (Int32Array), and the record's length. */
export const PEER = {
  /** Connections now open to it by requests. */
  conns: 0,
  /** Failures within fail_timeout. */
  fails: 1,
  /** Seconds (the monotonic clock of all processes, >>> 0) of the last failure and of the last check of `fails`. */
  accessed: 2,
  checked: 3,
  /** Smooth weighted round robin. */
  currentWeight: 4,
  effectiveWeight: 5,
  /** Ms of that clock modulo 2^31 when slow start began; 0 when none. */
  slowStart: 6,
  /** Requests sent to it; wraps. */
  requests: 7,
  /** What was said of it while serving, by ADMIN. */
  admin: 8,
  /** least_time: moving averages in ms, and the requests in flight behind them. */
  headerTime: 9,
  responseTime: 10,
  inflightTime: 11,
  inflightLast: 12,
  inflightChanged: 13,
  inflight: 14,
  /** Failures ever counted; wraps. */
  failures: 15,
  /** 1 after a check was seen to hold the server down, until it is seen up again (slow_start). */
  seenDown: 16,
  words: 32,
} as const;

/** A peer's state beside the configuration's: taken out, or only for requests that are bound to it (as `drain`). */
export const ADMIN = { up: 0, down: 1, draining: 2 } as const;
