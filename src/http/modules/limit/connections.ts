import type { LimitZone } from "./limit_zone.ts";

/**
 * limit_conn's entries: how many connections there are for each key of a zone. An entry's value, in words: the number of all
 * connections of this node, then those of each worker by slot, as far as workers had some. That is how those of a dead worker are
 * known, and how an update that it did not finish is repaired. In a zone that nodes share there are between them: how many
 * connections the other nodes have, and where the entry is in the list of those that have changed. There an entry without any
 * connection stays until the others have been told.
 */
const TOTAL = 0;
const ELSEWHERE = 1;
export const LINKS = 2;
const OWN_HEAD = 1;
const SHARED_HEAD = 4;

export const TAKEN = 0;
const BUSY = 1;
export const NO_MEMORY = 2;

/** In a full zone it is looked so far for an entry without connections of this node. */
const MOST_LOOKED_AT = 64;

/** This worker's slot, and the number of workers that a new entry has room for. */
let ownSlot = 0;
let columns = 1;

export function enterWorker(slot: number, workers: number): void {
  ownSlot = slot;
  columns = Math.max(slot + 1, workers);
}

/** Where the workers' columns begin. */
function headOf({ changed }: LimitZone): number {
  return changed === undefined ? OWN_HEAD : SHARED_HEAD;
}

function bytesFor(zone: LimitZone, workers: number): number {
  return (headOf(zone) + workers) * 4;
}

/** Takes the zone's lock. If a worker died holding it, all totals are recomputed. */
function lock(zone: LimitZone): void {
  if (zone.lock()) eachEntry(zone, recount);
}

/** Takes a connection, unless there are as many as there may be: TAKEN, BUSY or NO_MEMORY. */
export function take(zone: LimitZone, key: string, most: number): number {
  const { entries } = zone;
  lock(zone);
  try {
    const { words } = entries.zone;
    let entry = entries.find(key) ?? make(zone, key, columns);
    if (entry === undefined) return NO_MEMORY;
    const elsewhere = zone.shared ? words[entries.value(entry) + ELSEWHERE] : 0;
    if (words[entries.value(entry) + TOTAL] + elsewhere >= most) return BUSY;
    // The entry was made when there were fewer workers.
    if (entries.valueBytes(entry) < bytesFor(zone, ownSlot + 1)) entry = grow(zone, entry);
    if (entry === undefined) return NO_MEMORY;
    const value = entries.value(entry);
    words[value + headOf(zone) + ownSlot]++;
    words[value + TOTAL]++;
    if (zone.shared) zone.changed?.add(entry);
    return TAKEN;
  } finally {
    zone.unlock();
  }
}

export function giveBack(zone: LimitZone, key: string): void {
  const { entries } = zone;
  lock(zone);
  try {
    const entry = entries.find(key);
    if (entry === undefined) return;
    const { words } = entries.zone;
    const value = entries.value(entry);
    words[value + headOf(zone) + ownSlot]--;
    words[value + TOTAL]--;
    changedTo(zone, entry, words[value + TOTAL]);
  } finally {
    zone.unlock();
  }
}

/** An entry has so many connections of this node now. */
function changedTo(zone: LimitZone, entry: number, total: number): void {
  if (zone.shared) zone.changed?.add(entry);
  else if (total <= 0) remove(zone, entry);
}

function remove({ entries, changed }: LimitZone, entry: number): void {
  changed?.remove(entry);
  entries.remove(entry);
}

function grow({ entries, changed }: LimitZone, entry: number): number | undefined {
  const noted = changed?.has(entry) === true;
  changed?.remove(entry);
  const grown = entries.grow(entry, entries.valueBytes(entry) + columns * 4);
  if (noted) changed?.add(grown ?? entry);
  return grown;
}

/** Without room, an entry of which this node has no connection gives way. */
function make(zone: LimitZone, key: string, workers: number): number | undefined {
  const { entries, changed } = zone;
  const made = entries.insert(key, bytesFor(zone, workers));
  if (made !== undefined || changed === undefined) return made;
  const { words } = entries.zone;
  let at = entries.oldest;
  for (let looked = 0; at !== undefined && looked < MOST_LOOKED_AT; looked++) {
    const next = entries.newer(at);
    if (words[entries.value(at) + TOTAL] === 0) {
      remove(zone, at);
      const found = entries.insert(key, bytesFor(zone, workers));
      if (found !== undefined) return found;
    }
    at = next;
  }
  return undefined;
}

/** Removes the counts of a worker that has exited. */
export function forgetWorker(zone: LimitZone, slot: number): void {
  const { entries } = zone;
  const { words } = entries.zone;
  lock(zone);
  try {
    eachEntry(zone, (_, entry) => {
      if (entries.valueBytes(entry) < bytesFor(zone, slot + 1)) return;
      words[entries.value(entry) + headOf(zone) + slot] = 0;
      recount(zone, entry);
    });
  } finally {
    zone.unlock();
  }
}

function eachEntry(zone: LimitZone, visit: (zone: LimitZone, entry: number) => void): void {
  const { entries } = zone;
  for (let entry = entries.oldest; entry !== undefined; ) {
    const next = entries.newer(entry);
    visit(zone, entry);
    entry = next;
  }
}

function recount(zone: LimitZone, entry: number): void {
  const { entries } = zone;
  const { words } = entries.zone;
  const value = entries.value(entry);
  const before = words[value + TOTAL];
  let total = 0;
  for (let at = value + headOf(zone); at < value + entries.valueBytes(entry) / 4; at++) total += words[at];
  words[value + TOTAL] = total;
  if (total !== before || total === 0) changedTo(zone, entry, total);
}

// ---- what nodes tell each other; all of it in the checker

/** What was last taken: a key, and how many connections of this node it has. */
export const changedKey = { key: "", count: 0 };

/** The next key that has changed, in `changedKey`. Returns false where there is none. Wants the lock. */
export function takeChanged(zone: LimitZone): boolean {
  const { entries, changed } = zone;
  const entry = changed?.first;
  if (changed === undefined || entry === undefined) return false;
  const { words } = entries.zone;
  const value = entries.value(entry);
  changedKey.key = entries.key(entry);
  changedKey.count = Math.max(0, words[value + TOTAL]);
  if (words[value + TOTAL] <= 0 && words[value + ELSEWHERE] <= 0) remove(zone, entry);
  else changed.remove(entry);
  return true;
}

/** Notes how many connections the other nodes have. Returns false where there is no room for the key. Wants the lock. */
export function setElsewhere(zone: LimitZone, key: string, count: number): boolean {
  const { entries, changed } = zone;
  const { words } = entries.zone;
  const known = entries.find(key);
  if (known === undefined && count === 0) return true;
  // In a full zone nothing gives way to what others have.
  const entry = known ?? entries.insert(key, bytesFor(zone, columns));
  if (entry === undefined) return false;
  const value = entries.value(entry);
  words[value + ELSEWHERE] = count;
  if (count === 0 && words[value + TOTAL] === 0 && changed?.has(entry) === false) entries.remove(entry);
  return true;
}

/** Nothing is known of the other nodes any more, and they are to be told of everything. Takes the lock. */
export function beginAnew(zone: LimitZone): void {
  const { entries, changed } = zone;
  lock(zone);
  try {
    eachEntry(zone, (_, entry) => {
      entries.zone.words[entries.value(entry) + ELSEWHERE] = 0;
    });
    changed?.repair();
  } finally {
    zone.unlock();
  }
}
