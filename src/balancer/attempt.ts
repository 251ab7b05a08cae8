import type { Address } from "../net/address.ts";
import type { Peer } from "./peer.ts";
import type { Selection } from "./selection.ts";

/** What a balancing method may ask of the request. Filled by the proxy. */
export interface BalanceInput {
  /** Client address as ip_hash wants it. */
  readonly client: Address;
  /** The rendered key of `hash`, when the method has one. */
  readonly key: string;
}

/**
 * What binds a request to servers, over all its tries (`sticky`, `session_sticky`). It stands around the balancing method,
 * as in nginx.
 */
export interface Binding {
  /** No other server may take the place of the one it is bound to. */
  readonly only: boolean;
  /** Before each choice, without any lock held: the sid of the server that the request is bound to; "" for none. */
  wanted(): string;
  /** That server was chosen. */
  chosen(peer: Peer): void;
  /** The head of an answer that is passed on has come. */
  header(): void;
  /** The server's connection is given back, and the server has not failed. */
  released(): void;
}

/** One request's passage through an upstream: which peers it tried. Reused per request where possible. */
export interface Attempt {
  input: BalanceInput;
  /** The servers that all indexes are those of. */
  selection: Selection;
  /** Bit set of tried peers, by index. */
  tried: Uint32Array;
  /** The peer to be tried first where it can be had, whatever the method says (`Upstream.begin`); -1: none. */
  preferred: number;
  binding: Binding | undefined;
  /** The sid that `binding` wants for the next try; "": none. */
  sid: string;
  /** Peer in use or last used; -1 before the first. */
  peer: number;
  /** ms, from performance.now() at selection; used for fails and response times. */
  selectedAt: number;
  /**
   * nginx's `peer.tries`: how many more servers may be tried. The proxy may lower it (proxy_next_upstream_tries) and
   * adds one back when a reused keep-alive connection turned out dead.
   */
  tries: number;
  /** ms from selection to the response header, set by `Upstream.header`; -1 before. For least_time. */
  headerTime: number;
  /** Set by `release` when this failure reached max_fails: log [warn] "upstream server temporarily disabled". */
  disabled: boolean;
  /** True once the main servers were exhausted and the backup ones are in turn. */
  backup: boolean;
  /** What `hash` and `ip_hash` carry from one try to the next, and the misses that end in round robin (20). */
  hash: number;
  rehash: number;
  misses: number;
  /** least_time inflight: this attempt counts as in flight. */
  inflight: boolean;
}

/** The length of `tried`: 32 peers to a word. */
export function wordsFor(peers: number): number {
  return (peers + 31) >> 5;
}

export function newAttempt(input: BalanceInput, selection: Selection): Attempt {
  return {
    input,
    selection,
    tried: new Uint32Array(wordsFor(selection.list.length)),
    preferred: -1,
    binding: undefined,
    sid: "",
    peer: -1,
    selectedAt: 0,
    tries: 0,
    headerTime: -1,
    disabled: false,
    backup: false,
    hash: 0,
    rehash: 0,
    misses: 0,
    inflight: false,
  };
}

/** Resets the attempt of an earlier request among the same servers for another one. */
export function resetAttempt(attempt: Attempt, input: BalanceInput): void {
  attempt.input = input;
  const { tried } = attempt;
  // A call of `fill` for what is nearly always one word costs more than all the rest.
  for (let word = 0; word < tried.length; word++) tried[word] = 0;
  attempt.preferred = -1;
  attempt.binding = undefined;
  attempt.sid = "";
  attempt.peer = -1;
  attempt.tries = 0;
  attempt.headerTime = -1;
  attempt.disabled = false;
  attempt.backup = false;
  attempt.hash = 0;
  attempt.rehash = 0;
  attempt.misses = 0;
  attempt.inflight = false;
}
