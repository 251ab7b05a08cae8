import { MAX_WORKERS } from "../runtime/application.ts";
import { digest } from "../shm/digest.ts";
import { makeOwnZone, type Zone, type ZoneKind } from "../shm/zone.ts";
import { PEER } from "./peer.ts";

/**
 * The shared memory of an upstream. Words, all of them changed with the zone's lock held but for the counts of connections,
 * requests and failures, which are added to atomically (an upstream of a single server takes no lock), and a worker's
 * column, which is its own:
 *
 *     header (16 words) · a record of PEER.words for each slot · for each of MAX_WORKERS workers, a word for each slot
 *     · three words for each worker's queue (queue.ts) · room for names' addresses (resolved.ts)
 *
 * A slot belongs to a server address as long as configurations name it, so a reload keeps its state. The workers'
 * columns hold each worker's part of `conns`, which is subtracted when that worker dies. Pages never written to take no
 * memory, so there is a column for every possible worker.
 */
const HEADER = 16;
/** Number of columns ever used. */
const COLUMNS = 1;
/** Number of columns there is room for; 0: MAX_WORKERS. */
const ROOM = 2;
/** Number of slots that were ever used: only these are looked at. */
const TOP = 3;
/** The number of the last one that began to wait in a queue. */
export const TICKET = 4;
/** The words of the header from here on belong to resolved.ts. */
export const RESOLVED = 8;

/** Words of a record that only this file uses, after those of PEER. */
const KEY = 20;
/** The newest list of servers that the address was on. */
const EDITION = 24;
const WEIGHT = 25;
const USED = 26;

/** Words for names' addresses in a shared zone, for each slot. */
const RESOLVED_WORDS = 128;
/** Words for each worker's queue in a shared zone. */
const QUEUE_WORDS = 3;

/** Bytes of the zone for that many peers: at least twice as many slots, so that a reload may replace every server. */
export function zoneBytes(peers: number): number {
  let slots = 8;
  while (slots < peers * 2) slots *= 2;
  return (HEADER + MAX_WORKERS * QUEUE_WORDS + slots * (PEER.words + MAX_WORKERS + RESOLVED_WORDS)) * 4;
}

export const UPSTREAM_ZONE: ZoneKind = { name: "upstream", version: 4 };

/** A zone for that many peers private to one worker: one column, and no spare slots. */
export function ownZone(peers: number): Zone {
  const zone = makeOwnZone(UPSTREAM_ZONE, "", (HEADER + peers * (PEER.words + 1)) * 4);
  zone.words[ROOM] = 1;
  return zone;
}

function slotsOf(state: Int32Array): number {
  if (state[ROOM] !== 0) return Math.floor((state.length - HEADER) / (PEER.words + state[ROOM]));
  const others = HEADER + MAX_WORKERS * QUEUE_WORDS;
  return Math.floor((state.length - others) / (PEER.words + MAX_WORKERS + RESOLVED_WORDS));
}

/** Slots that were ever used. No more than there are, whatever a process that was taken over has written there. */
function topOf(state: Int32Array): number {
  return Math.min(state[TOP] >>> 0, slotsOf(state));
}

/** The part of a shared zone that is for names' addresses. */
export function resolvedRoom({ words, bytes }: Zone): Buffer {
  return bytes.subarray(queueAt(words, MAX_WORKERS) * 4, words.length * 4);
}

/** Index of the words of a worker's queue. Only in a shared zone. */
export function queueAt(state: Int32Array, worker: number): number {
  return columnAt(state, MAX_WORKERS) + worker * QUEUE_WORDS;
}

/** Workers that have ever counted anything. */
export function workersIn(state: Int32Array): number {
  return Math.min(Math.max(state[COLUMNS], 0), MAX_WORKERS);
}

/** Index of a slot's first word. */
export function recordAt(slot: number): number {
  return HEADER + slot * PEER.words;
}

/** Index of the first word of a worker's column: one word a slot. */
export function columnAt(state: Int32Array, worker: number): number {
  const slots = slotsOf(state);
  return HEADER + slots * PEER.words + worker * slots;
}

/** Takes the zone's lock. If its last owner died holding it, what it left half done is repaired. */
export function lockZone(zone: Zone): void {
  if (zone.lock()) repair(zone.words);
}

/** To be called before a worker counts connections in its column. */
export function openColumn(zone: Zone, worker: number): void {
  lockZone(zone);
  zone.words[COLUMNS] = Math.max(zone.words[COLUMNS], worker + 1);
  zone.unlock();
}

/** Sums up each server's connections from the columns, and restarts round robin. */
function repair(state: Int32Array): void {
  recount(state);
  for (let slot = 0; slot < topOf(state); slot++) state[recordAt(slot) + PEER.currentWeight] = 0;
}

function recount(state: Int32Array): void {
  for (let slot = 0; slot < topOf(state); slot++) {
    const record = recordAt(slot);
    recountSlot(state, slot, record + PEER.conns);
    // They are not counted by worker: counting starts again at 0.
    state[record + PEER.inflight] = 0;
    state[record + PEER.inflightLast] = 0;
  }
}

/** Starts again when a worker that takes no lock has counted meanwhile. */
function recountSlot(state: Int32Array, slot: number, at: number): void {
  for (let known = Atomics.load(state, at); ; ) {
    let conns = 0;
    for (let worker = 0; worker < workersIn(state); worker++) conns += state[columnAt(state, worker) + slot];
    const found = Atomics.compareExchange(state, at, known, conns);
    if (found === known) return;
    known = found;
  }
}

/** A server that needs a slot: its name in the zone, and its effective weight while nothing has failed. */
export interface Claim {
  readonly name: string;
  readonly weight: number;
}

/**
 * The slots of an upstream's servers: to each the one it had, else a free one, else the one longest out of use; -1 where the
 * zone has no room. A record starts anew where the weight differs. `edition` is greater with each list of servers.
 */
export function claimSlots(zone: Zone, claims: readonly Claim[], edition: number): number[] {
  const state = zone.words;
  const keys = claims.map(({ name }) => digest(name));
  lockZone(zone);
  try {
    const known = new Map<string, number>();
    for (let slot = 0; slot < topOf(state); slot++) {
      if (state[recordAt(slot) + USED] !== 0) known.set(keyOf(state, slot), slot);
    }
    const slots = keys.map((key) => known.get(key.toString("latin1")) ?? -1);
    // Slots that are kept are marked first, so that no new server gets one of them.
    for (const slot of slots) if (slot !== -1) mark(state, recordAt(slot), edition);
    const stale = slots.includes(-1) ? staleSlots(state, edition) : [];
    for (const [i, key] of keys.entries()) {
      if (slots[i] === -1) slots[i] = newSlot(state, stale, key);
      if (slots[i] === -1) continue;
      const at = recordAt(slots[i]);
      mark(state, at, edition);
      const { weight } = claims[i];
      if (state[at + WEIGHT] !== weight) setWeight(state, at, weight);
    }
    return slots;
  } finally {
    zone.unlock();
  }
}

function keyOf(state: Int32Array, slot: number): string {
  const at = recordAt(slot) + KEY;
  return Buffer.from(state.slice(at, at + 4).buffer).toString("latin1");
}

/** A process that is late must not make a record look unused. */
function mark(state: Int32Array, at: number, edition: number): void {
  state[at + EDITION] = Math.max(state[at + EDITION], edition);
}

/** Slots that may be given away, the one longest out of use last; none with open connections. */
function staleSlots(state: Int32Array, edition: number): number[] {
  const stale: number[] = [];
  for (let slot = topOf(state) - 1; slot >= 0; slot--) {
    const at = recordAt(slot);
    if (state[at + EDITION] < edition && state[at + PEER.conns] === 0) stale.push(slot);
  }
  return stale.sort((one, other) => state[recordAt(other) + EDITION] - state[recordAt(one) + EDITION]);
}

/** A slot for a new server: one that was never used, else a stale one; -1: there is none. */
function newSlot(state: Int32Array, stale: number[], key: Buffer): number {
  const top = topOf(state);
  const slot = top < slotsOf(state) ? top : stale.pop();
  if (slot === undefined) return -1;
  if (slot === top) state[TOP] = top + 1;
  const at = recordAt(slot);
  // A worker that has not seen yet that its server has gone may be adding to `conns`: it takes away what it has added.
  state.fill(0, at + 1, at + PEER.words);
  for (let i = 0; i < 4; i++) state[at + KEY + i] = key.readInt32LE(i * 4);
  state[at + USED] = 1;
  return slot;
}

function setWeight(state: Int32Array, at: number, weight: number): void {
  state[at + WEIGHT] = weight;
  state[at + PEER.effectiveWeight] = weight;
  state[at + PEER.currentWeight] = 0;
}

/** Gives back the connections a worker that died had taken. Call before its successor serves. */
export function forgetWorker(zone: Zone, worker: number): void {
  const state = zone.words;
  lockZone(zone);
  const column = columnAt(state, worker);
  state.fill(0, column, column + slotsOf(state));
  if (state[ROOM] === 0) state.fill(0, queueAt(state, worker), queueAt(state, worker) + QUEUE_WORDS);
  recount(state);
  zone.unlock();
}

/**
 * Copies the state of every address into a new zone of another size. Connections are not copied: requests in flight
 * give theirs back to the old zone.
 */
export function migrate(from: Zone, to: Zone): void {
  const old = from.words;
  const state = to.words;
  const room = slotsOf(state);
  let next = 0;
  lockZone(from);
  for (let slot = 0; slot < topOf(old) && next < room; slot++) {
    const at = recordAt(slot);
    if (old[at + USED] === 0) continue;
    const target = recordAt(next++);
    state.set(old.subarray(at, at + PEER.words), target);
    for (const word of [PEER.conns, PEER.inflight, PEER.inflightLast]) state[target + word] = 0;
  }
  state[TOP] = next;
  from.unlock();
}
