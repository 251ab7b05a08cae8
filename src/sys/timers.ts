import { now } from "./clock.ts";
import { contain, guarded } from "./guard.ts";

/**
 * The timers of a thread; nothing else calls `setTimeout`, which fires at once where the time is longer than it can
 * count. `startTimer` is for what happens rarely. The rest is one timer wheel per thread for all deadlines of connections and requests. Arming, clearing and moving a deadline are
 * O(1); an armed deadline that is set to a later time costs one write: it is moved when its old slot comes round.
 * A deadline never fires early and at most about two slots late. One `setTimeout` exists only while something is armed.
 */

/** The width of a slot in ms. */
const SLOT_MS = 16;
/** About 33 s in all; a deadline further away waits in the last slot and is looked at again. */
const SLOTS = 2048;
const MASK = SLOTS - 1;

/** The links of the circular lists; a slot is a bare link. */
class Link {
  previous: Link = this;
  next: Link = this;
}

/** A point in time at which `expire(owner)` is called, once, unless cleared before. Made once and re-armed as often as wanted. */
export class Deadline<T = unknown> extends Link {
  readonly owner: T;
  expire: (owner: T) => void;
  /** The time it fires at on the monotonic clock, in ms; 0 while not armed. */
  due = 0;

  constructor(owner: T, expire: (owner: T) => void) {
    super();
    this.owner = owner;
    this.expire = expire;
  }

  get armed(): boolean {
    return this.due !== 0;
  }

  /** Calls the owner back; the one place where the owner's type matters. An exception ends the owner's work only. */
  fire(): void {
    try {
      this.expire(this.owner);
    } catch (error) {
      contain(this.owner, error);
    }
  }
}

const slots: Link[] = Array.from({ length: SLOTS }, () => new Link());
let armedCount = 0;
/** Every slot up to this number has been emptied. */
let lastTick = 0;
/** The number of the slot the timeout is set for. */
let wakeTick = Number.POSITIVE_INFINITY;
let timeout: NodeJS.Timeout | undefined;

/** The longest time setTimeout counts, 24.8 days in ms. */
const LONGEST = 0x7fffffff;

/** A timer of its own, as `startTimer` makes it. */
export class Timer {
  readonly #due: number;
  readonly #callback: () => void;
  readonly #background: boolean;
  #timeout: NodeJS.Timeout | undefined;

  constructor(ms: number, callback: () => void, background: boolean) {
    this.#due = performance.now() + ms;
    this.#callback = callback;
    this.#background = background;
    this.#wait(ms);
  }

  #wait(ms: number): void {
    this.#timeout = setTimeout(() => this.#wake(), Math.min(ms, LONGEST));
    if (this.#background) this.#timeout.unref();
  }

  #wake(): void {
    this.#timeout = undefined;
    const left = this.#due - performance.now();
    if (left > 0) this.#wait(left);
    else guarded(this.#callback, undefined);
  }

  /** It will not fire; no-op when it has. */
  clear(): void {
    clearTimeout(this.#timeout);
    this.#timeout = undefined;
  }
}

/** Calls back once, `ms` from now, however long that is. A `background` one does not keep the process alive. */
export function startTimer(ms: number, callback: () => void, { background = false } = {}): Timer {
  return new Timer(ms, callback, background);
}

/** Arms or re-arms: `expire` is called `ms` milliseconds from now (or up to two slots later). */
export function setDeadline<T>(deadline: Deadline<T>, ms: number): void {
  const time = now();
  const due = time + Math.max(ms, 0);
  if (deadline.due !== 0) {
    if (due >= deadline.due) {
      deadline.due = due;
      return;
    }
    unlink(deadline);
  } else {
    if (armedCount++ === 0) {
      lastTick = Math.floor(time / SLOT_MS);
      timeout?.ref();
    }
  }
  deadline.due = due;
  insert(deadline);
}

/** Disarms; no-op when not armed. */
export function clearDeadline<T>(deadline: Deadline<T>): void {
  if (deadline.due === 0) return;
  disarm(deadline);
  if (armedCount === 0) timeout?.unref();
}

/** How many deadlines are armed in this thread. */
export function armedDeadlines(): number {
  return armedCount;
}

function disarm<T>(deadline: Deadline<T>): void {
  deadline.due = 0;
  armedCount--;
  unlink(deadline);
}

function unlink(link: Link): void {
  link.previous.next = link.next;
  link.next.previous = link.previous;
  link.previous = link;
  link.next = link;
}

function append(list: Link, link: Link): void {
  const last = list.previous;
  last.next = link;
  link.previous = last;
  link.next = list;
  list.previous = link;
}

function insert<T>(deadline: Deadline<T>): void {
  let tick = Math.ceil(deadline.due / SLOT_MS);
  if (tick <= lastTick) tick = lastTick + 1;
  else if (tick > lastTick + MASK) tick = lastTick + MASK;
  append(slots[tick & MASK], deadline);
  if (tick < wakeTick) wakeAt(tick);
}

function wakeAt(tick: number): void {
  if (timeout !== undefined) clearTimeout(timeout);
  wakeTick = tick;
  timeout = setTimeout(advance, Math.max(1, Math.ceil(tick * SLOT_MS - performance.now())));
}

/** Empties every slot whose time has come; what was set to a later time since is put into its new slot. */
function advance(): void {
  timeout = undefined;
  wakeTick = Number.POSITIVE_INFINITY;
  const time = performance.now();
  const nowTick = Math.floor(time / SLOT_MS);
  const expired = new Link();
  for (let tick = Math.max(lastTick + 1, nowTick - MASK); tick <= nowTick; tick++) {
    const slot = slots[tick & MASK];
    if (slot.next === slot) continue;
    slot.next.previous = expired.previous;
    expired.previous.next = slot.next;
    slot.previous.next = expired;
    expired.previous = slot.previous;
    slot.previous = slot;
    slot.next = slot;
  }
  if (nowTick > lastTick) lastTick = nowTick;
  for (let link = expired.next; link !== expired; link = expired.next) {
    const deadline = link as Deadline;
    if (deadline.due > time) {
      unlink(deadline);
      insert(deadline);
    } else {
      disarm(deadline);
      deadline.fire();
    }
  }
  if (armedCount > 0) {
    let tick = lastTick + 1;
    while (tick < wakeTick && slots[tick & MASK].next === slots[tick & MASK]) tick++;
    if (tick < wakeTick) wakeAt(tick);
  }
}
