import type { Attempt } from "../attempt.ts";
import type { TimeMode } from "../definition.ts";
import { PEER } from "../peer.ts";
import type { Method, PeerSet, Peers } from "../peers.ts";
import { pickLeast } from "./least_conn.ts";

/** Times are capped at SLOWEST ms and rounded up to multiples of CLASS ms. */
const SLOWEST = 5000;
const CLASS = 20;

/** The average of response times until then: what `least_time` balances by without `inflight`, and `random two` may. */
export function responseTimes(peers: Peers, mode: TimeMode) {
  const average = mode === "header" ? PEER.headerTime : PEER.responseTime;
  return {
    load: (peer: number) => estimate(peers, peer, average),
    released(attempt: Attempt, ok: boolean, responseTime: number): void {
      // Failures are often fast, so only successful requests count.
      if (!ok || attempt.headerTime < 0) return;
      const record = peers.at[attempt.peer];
      learn(peers, record + PEER.responseTime, responseTime);
      learn(peers, record + PEER.headerTime, attempt.headerTime);
    },
  };
}

/** `least_time`: least average response time times connections, for its weight; equals take turns by round robin. */
export function leastTime(peers: Peers, mode: TimeMode, inflight: boolean): Method {
  const { load, released } = responseTimes(peers, mode);
  const pick = (set: PeerSet, attempt: Attempt) => {
    if (inflight) for (let peer = set.first; peer < set.last; peer++) learnInflight(peers, attempt, peer);
    return pickLeast(peers, set, attempt, load);
  };
  const learnsAtHeader = inflight && mode === "header";
  return {
    pick: (attempt) => pick(peers.main, attempt),
    pickBackup: (attempt) => pick(peers.backups, attempt),
    taken: inflight ? (attempt) => startFlight(peers, attempt) : undefined,
    header: learnsAtHeader ? (attempt) => learnHeader(peers, attempt) : undefined,
    released(attempt, ok, responseTime) {
      if (attempt.inflight) endFlight(peers, attempt, responseTime);
      if (!learnsAtHeader) released(attempt, ok, responseTime);
      else if (ok && attempt.headerTime >= 0) learn(peers, peers.at[attempt.peer] + PEER.responseTime, responseTime);
    },
  };
}

/** Learns from how long the requests in flight have taken so far. */
function learnInflight(peers: Peers, attempt: Attempt, peer: number): void {
  const { state } = peers;
  const record = peers.at[peer];
  const running = state[record + PEER.inflight];
  if (running <= 0 || !peers.usable(attempt, peer)) return;
  const since = elapsed(peers, state[record + PEER.inflightChanged]);
  learn(peers, record + PEER.inflightTime, Math.floor(state[record + PEER.inflightLast] / running) + since);
}

/** How long the peer would need for what it has to do and one request more, in ms. `average`: the word of its record. */
function estimate(peers: Peers, peer: number, average: number): number {
  const { state } = peers;
  const record = peers.at[peer];
  let time = state[record + average];
  if (peers.checkedLongAgo(peer)) {
    // Halved for each fail_timeout without a request, so that a slow server is tried again.
    const idle = (peers.seconds - state[record + PEER.checked]) >>> 0;
    time >>= Math.min(31, Math.floor(idle / (peers.failTimeout[peer] + 1)));
  }
  if (state[record + PEER.inflight] > 0) time = Math.max(time, state[record + PEER.inflightTime]);
  if (time > SLOWEST) time = SLOWEST;
  else time += CLASS - (time % CLASS);
  return time * (1 + state[record + PEER.conns]);
}

/** Exponential moving average, rounded. */
function learn(peers: Peers, word: number, value: number): void {
  const average = peers.state[word];
  peers.state[word] = average === 0 ? value : 0.5 + value * 0.05 + average * 0.95;
}

function startFlight(peers: Peers, attempt: Attempt): void {
  const { state } = peers;
  const record = peers.at[attempt.peer];
  const running = state[record + PEER.inflight];
  if (running > 0) {
    state[record + PEER.inflightLast] += elapsed(peers, state[record + PEER.inflightChanged]) * running;
  }
  state[record + PEER.inflightChanged] = peers.ms;
  state[record + PEER.inflight] = running + 1;
  attempt.inflight = true;
}

function endFlight(peers: Peers, attempt: Attempt, took: number): void {
  const { state } = peers;
  const record = peers.at[attempt.peer];
  const running = state[record + PEER.inflight];
  if (running <= 1) {
    state[record + PEER.inflightLast] = 0;
  } else {
    const spent = elapsed(peers, state[record + PEER.inflightChanged]) * running;
    state[record + PEER.inflightLast] += spent - took;
    state[record + PEER.inflightChanged] = peers.ms;
  }
  // It was reset to 0 when a worker died, without the requests in flight then.
  state[record + PEER.inflight] = Math.max(0, running - 1);
  attempt.inflight = false;
}

function learnHeader(peers: Peers, attempt: Attempt): void {
  learn(peers, peers.at[attempt.peer] + PEER.headerTime, attempt.headerTime);
  if (attempt.inflight) endFlight(peers, attempt, attempt.headerTime);
}

/** ms since `from`, modulo 2^31. */
function elapsed(peers: Peers, from: number): number {
  return (peers.ms - from) & 0x7fffffff;
}
