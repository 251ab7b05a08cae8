import { now } from "./clock.ts";
import { eventLoop } from "./event_loop.ts";
import { contain, guarded } from "./guard.ts";

/**
 * Timers. Nothing else calls `setTimeout`, which fires at once for a time above 2^31 ms. `startTimer` is for rare events.
 * Timeouts of connections and requests are deadlines in one timer wheel: arming and clearing one is O(1), and moving an
 * armed one is a single write, unless to a time before its slot's: it is moved to its new slot only when the old one expires.
 * A deadline never fires early, and at most about two slots late, unless the process was held up. Then what has come meanwhile goes
 * first, as in nginx: libuv would look at its timers before it looks for events, and end what has its answer already.
 */

/** The width of a slot in ms. */
const SLOT_MS = 16;
/** About 33 s in all; a later deadline is put into the last slot, and moved on when that expires. */
const SLOTS = 2048;
const MASK = SLOTS - 1;

/** Who wakes so much later than was asked for, ms, was held up: by a long turn, or since others had the processor. */
const HELD_UP_MS = 50;
/** In so many turns of the event loop all that has come meanwhile is handled, or very much. */
const HELD_UP_TURNS = 8;

/** A link of a circular list; a slot is the head of one. */
class Link {
  previous: Link = this;
  next: Link = this;
}

/** Calls `expire(owner)` once, at the time it is armed for, unless it is cleared before. To be armed any number of times. */
export class Deadline<T = unknown> extends Link {
  readonly owner: T;
  expire: (owner: T) => void;
  /** When it fires, ms of the monotonic clock; 0 while it is not armed. A whole number, since another would be an object. */
  due = 0;
  /** The number of the slot that it is in. */
  tick = 0;

  constructor(owner: T, expire: (owner: T) => void) {
    super();
    this.owner = owner;
    this.expire = expire;
  }

  get armed(): boolean {
    return this.due !== 0;
  }

  /** A method, since only here the owner's type is known. */
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
/** Slots up to this number have expired. */
let lastTick = 0;
/** The number of the slot that the event loop is to wake us for. */
let wakeTick = Number.POSITIVE_INFINITY;
/** Slots have expired, and are seen to after events. */
let heldUp = false;

/** The longest time setTimeout counts, 24.8 days in ms. */
const LONGEST = 0x7fffffff;

/** Made by `startTimer`. */
export class Timer {
  readonly #due: number;
  readonly #callback: () => void;
  readonly #background: boolean;
  #timeout: NodeJS.Timeout | undefined;
  #cleared = false;

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
    else if (left > -HELD_UP_MS) this.#fire();
    else afterEvents(() => this.#fire());
  }

  #fire(): void {
    if (!this.#cleared) guarded(this.#callback, undefined);
  }

  /** Cancels it; does nothing if it has fired. */
  clear(): void {
    this.#cleared = true;
    clearTimeout(this.#timeout);
    this.#timeout = undefined;
  }
}

/** Calls back after the events that are there already. */
function afterEvents(callback: () => void, turns = HELD_UP_TURNS): void {
  const next = turns === 1 ? callback : () => afterEvents(callback, turns - 1);
  eventLoop().defer(next, undefined, undefined);
}

/** Calls back once, in `ms` milliseconds, of any number. A `background` timer does not keep the process alive. */
export function startTimer(ms: number, callback: () => void, { background = false } = {}): Timer {
  return new Timer(ms, callback, background);
}

/** Arms a deadline, or moves it: `expire` is called in `ms` milliseconds, or up to two slots later. */
export function setDeadline<T>(deadline: Deadline<T>, ms: number): void {
  const time = now();
  const due = Math.ceil(time + Math.max(ms, 0));
  if (deadline.due !== 0) {
    if (due > (deadline.tick - 1) * SLOT_MS) {
      deadline.due = due;
      return;
    }
    unlink(deadline);
  } else {
    if (armedCount++ === 0) {
      lastTick = Math.floor(time / SLOT_MS);
      eventLoop().holdProcess(true);
    }
  }
  deadline.due = due;
  insert(deadline);
}

/** Does nothing if it is not armed. */
export function clearDeadline<T>(deadline: Deadline<T>): void {
  if (deadline.due === 0) return;
  disarm(deadline);
  if (armedCount === 0) eventLoop().holdProcess(false);
}

/** How many are armed in this process. @internal For tests: whoever is done with a deadline has cleared it. */
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
  deadline.tick = tick;
  append(slots[tick & MASK], deadline);
  if (tick < wakeTick) wakeAt(tick);
}

function wakeAt(tick: number): void {
  wakeTick = tick;
  eventLoop().wakeAt(tick * SLOT_MS, onWake);
}

function onWake(): void {
  if (heldUp) return;
  heldUp = performance.now() - wakeTick * SLOT_MS >= HELD_UP_MS;
  if (heldUp) afterEvents(advance);
  else advance();
}

/** Expires the slots whose time has come. A deadline that was moved to a later time meanwhile goes into its new slot. */
function advance(): void {
  heldUp = false;
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
