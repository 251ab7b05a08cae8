import { createHash } from "node:crypto";
import { PEER } from "./peer.ts";

/**
 * The shared memory of an upstream. One Int32Array:
 *
 *     header (16 words) · a record of PEER.words for each slot · for each of 64 workers, a word for each slot
 *
 * A slot belongs to a server address as long as configurations name it, so a reload keeps its state. The workers'
 * columns repeat each worker's share of `conns`: what a dead worker held is given back from there.
 */
const HEADER = 16;
const LOCK = 0;
const COLUMNS = 64;

/** Words of a record that only this file uses, after those of PEER. */
const KEY = 20;
const GENERATION = 24;
const WEIGHT = 25;
const USED = 26;

/** Spins before the thread sleeps for a millisecond at a time; a lock held longer than STEAL ms belongs to a dead thread. */
const SPINS = 2000;
const STEAL = 250;

/** Bytes of the zone for that many peers: at least twice as many slots, so that a reload may replace every server. */
export function zoneBytes(peers: number): number {
  let slots = 8;
  while (slots < peers * 2) slots *= 2;
  return (HEADER + slots * (PEER.words + COLUMNS)) * 4;
}

function slotsOf(state: Int32Array): number {
  return Math.floor((state.length - HEADER) / (PEER.words + COLUMNS));
}

/** Index of a slot's first word. */
export function recordAt(slot: number): number {
  return HEADER + slot * PEER.words;
}

/** Index of the first word of a worker's column: one word a slot. */
export function columnAt(state: Int32Array, worker: number): number {
  const slots = slotsOf(state);
  return HEADER + slots * PEER.words + Math.min(worker, COLUMNS - 1) * slots;
}

/** A value for the lock: who holds it, and which of its turns it is. Never 0. */
export function lockToken(worker: number, turn: number): number {
  return ((turn & 0xffffff) << 7) | (Math.min(worker, COLUMNS - 1) + 1);
}

/**
 * Takes the zone's lock. `token` differs from one taking to the next, so that a lock whose holder died between two
 * instructions is recognised as unchanged and taken over.
 */
export function lock(state: Int32Array, token: number): void {
  if (Atomics.compareExchange(state, LOCK, 0, token) !== 0) lockSlowly(state, token);
}

function lockSlowly(state: Int32Array, token: number): void {
  for (let i = 0; i < SPINS; i++) {
    if (Atomics.load(state, LOCK) === 0 && Atomics.compareExchange(state, LOCK, 0, token) === 0) return;
  }
  let holder = Atomics.load(state, LOCK);
  let since = performance.now();
  for (;;) {
    if (holder !== 0) Atomics.wait(state, LOCK, holder, 1);
    const seen = Atomics.compareExchange(state, LOCK, 0, token);
    if (seen === 0) return;
    if (seen !== holder) {
      holder = seen;
      since = performance.now();
    } else if (performance.now() - since > STEAL && Atomics.compareExchange(state, LOCK, holder, token) === holder) {
      return;
    }
  }
}

export function unlock(state: Int32Array, token: number): void {
  Atomics.compareExchange(state, LOCK, token, 0);
}

/** A server that needs a slot: its name in the zone, and its effective weight while nothing has failed. */
export interface Claim {
  readonly name: string;
  readonly weight: number;
}

/**
 * The slots of an upstream's servers: to each the one it had, else a free one, else the one longest out of use. A record
 * starts anew where the weight differs. undefined when the zone has no room. `token` is for the lock.
 */
export function claimSlots(
  state: Int32Array,
  claims: readonly Claim[],
  generation: number,
  token: number,
): number[] | undefined {
  const keys = claims.map(({ name }) => createHash("md5").update(name, "latin1").digest());
  lock(state, token);
  try {
    const known = new Map<string, number>();
    for (let slot = 0; slot < slotsOf(state); slot++) {
      if (state[recordAt(slot) + USED] !== 0) known.set(keyOf(state, slot), slot);
    }
    const slots = keys.map((key) => known.get(key.toString("latin1")) ?? -1);
    // What stays is marked first, so that no newcomer is given its slot.
    for (const slot of slots) if (slot !== -1) state[recordAt(slot) + GENERATION] = generation;
    const free = slots.includes(-1) ? freeSlots(state, generation) : [];
    for (const [i, key] of keys.entries()) {
      const { weight } = claims[i];
      if (slots[i] === -1) {
        const slot = free.pop();
        if (slot === undefined) return undefined;
        slots[i] = slot;
        startRecord(state, recordAt(slot), key, generation);
      }
      const at = recordAt(slots[i]);
      if (state[at + WEIGHT] !== weight) setWeight(state, at, weight);
    }
    return slots;
  } finally {
    unlock(state, token);
  }
}

function keyOf(state: Int32Array, slot: number): string {
  const at = recordAt(slot) + KEY;
  return Buffer.from(state.slice(at, at + 4).buffer).toString("latin1");
}

/** Slots that may be given away, the best one last: never used, then longest out of use; none with open connections. */
function freeSlots(state: Int32Array, generation: number): number[] {
  const unused: number[] = [];
  const stale: number[] = [];
  for (let slot = slotsOf(state) - 1; slot >= 0; slot--) {
    const at = recordAt(slot);
    if (state[at + USED] === 0) unused.push(slot);
    else if (state[at + GENERATION] < generation && state[at + PEER.conns] === 0) stale.push(slot);
  }
  stale.sort((one, other) => state[recordAt(other) + GENERATION] - state[recordAt(one) + GENERATION]);
  return [...stale, ...unused];
}

function startRecord(state: Int32Array, at: number, key: Buffer, generation: number): void {
  state.fill(0, at, at + PEER.words);
  for (let i = 0; i < 4; i++) state[at + KEY + i] = key.readInt32LE(i * 4);
  state[at + GENERATION] = generation;
  state[at + USED] = 1;
}

function setWeight(state: Int32Array, at: number, weight: number): void {
  state[at + WEIGHT] = weight;
  state[at + PEER.effectiveWeight] = weight;
  state[at + PEER.currentWeight] = 0;
}

/** Gives back the connections a worker that died had taken, and the lock. Call before its successor serves. */
export function forgetWorker(shared: SharedArrayBuffer, worker: number): void {
  // Workers beyond the columns share the last one: nobody can say what a single one of them held.
  if (worker >= COLUMNS - 1) return;
  const state = new Int32Array(shared);
  const token = Atomics.load(state, LOCK);
  if ((token & 0x7f) === worker + 1) unlock(state, token);
  const column = columnAt(state, worker);
  for (let slot = 0; slot < slotsOf(state); slot++) {
    const held = Atomics.exchange(state, column + slot, 0);
    if (held !== 0) Atomics.sub(state, recordAt(slot) + PEER.conns, held);
  }
}

/**
 * Copies the state of every address into a new zone of another size. Connections are not copied: requests in flight
 * give theirs back to the old zone.
 */
export function migrate(from: SharedArrayBuffer, to: SharedArrayBuffer): void {
  const old = new Int32Array(from);
  const state = new Int32Array(to);
  const room = slotsOf(state);
  let next = 0;
  for (let slot = 0; slot < slotsOf(old) && next < room; slot++) {
    const at = recordAt(slot);
    if (old[at + USED] === 0) continue;
    const target = recordAt(next++);
    state.set(old.subarray(at, at + PEER.words), target);
    for (const word of [PEER.conns, PEER.inflight, PEER.inflightLast]) state[target + word] = 0;
  }
}
