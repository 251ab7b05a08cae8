import type { Zone } from "../shm/zone.ts";
import { defer, guarded } from "../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline, startTimer, type Timer } from "../sys/timers.ts";
import type { Attempt } from "./attempt.ts";
import type { QueueSettings } from "./definition.ts";
import type { Peer } from "./peer.ts";
import { lockZone, queueAt, TICKET, workersIn } from "./zone.ts";

/** How often a worker looks whether there is a server for those that wait, ms: others' connections end without telling it. */
const LOOK_MS = 20;
/** How many requests that came later, to other workers, may overtake one that waits. */
const OVERTAKEN = 32;
/** A worker that has not looked for so long, ms, hangs: nobody waits for it. */
const HANGS_MS = 1000;

/** Words of a worker's queue in the zone. */
const COUNT = 0;
/** The ticket of the one that has waited longest; 0: none waits. */
const FIRST = 1;
/** When it looked last, ms of the clock of all processes modulo 2^31. */
const LOOKED = 2;

/** Who waits for a server. */
export interface QueueUser {
  readonly attempt: Attempt;
  /** It has been taken. */
  onPeer(peer: Peer): void;
  /** `timeout` is over. */
  onQueueTimeout(): void;
  onFault(error: unknown): void;
}

/** A place in a worker's queue. */
export class QueuePlace {
  readonly user: QueueUser;
  readonly ticket: number;
  readonly deadline: Deadline<QueuePlace>;
  readonly #queue: Queue;

  constructor(user: QueueUser, ticket: number, queue: Queue) {
    this.user = user;
    this.ticket = ticket;
    this.deadline = new Deadline<QueuePlace>(this, timedOut);
    this.#queue = queue;
  }

  /** The request does not wait any more. */
  leave(): void {
    this.#queue.remove(this);
  }

  onFault(error: unknown): void {
    this.leave();
    this.user.onFault(error);
  }
}

function timedOut(place: QueuePlace): void {
  place.leave();
  place.user.onQueueTimeout();
}

/**
 * The requests of one worker that wait for a server of an upstream (`queue`). Its length is that of all workers' together. In a
 * worker the first to come is the first to go. Between workers tickets bound how many may be served before one that came
 * earlier: each worker's oldest is known to the others, and who is too far behind it leaves a free server to it.
 */
export class Queue {
  readonly #settings: QueueSettings;
  readonly #words: Int32Array;
  readonly #zone: Zone;
  readonly #clock: () => number;
  readonly #next: (attempt: Attempt) => Peer | undefined;
  readonly #places = new Set<QueuePlace>();
  #own: number;
  #timer: Timer | undefined = undefined;
  #looking = false;

  /** `next` takes a server for an attempt that has tried none. `clock`: ms, the same in all processes. */
  constructor(settings: QueueSettings, zone: Zone, clock: () => number, next: (attempt: Attempt) => Peer | undefined) {
    this.#settings = settings;
    this.#zone = zone;
    this.#words = zone.words;
    this.#clock = clock;
    this.#next = next;
    this.#own = queueAt(zone.words, 0);
  }

  enter(worker: number): void {
    this.#own = queueAt(this.#words, worker);
  }

  /** Whether a request that comes now has to wait although there may be a server for it. */
  get engaged(): boolean {
    return this.#places.size > 0 || !this.#mayTake(Atomics.load(this.#words, TICKET) + 1);
  }

  /** Undefined: there is no room. */
  join(user: QueueUser): QueuePlace | undefined {
    const ticket = this.#takeTicket();
    if (ticket === 0) return undefined;
    const place = new QueuePlace(user, ticket, this);
    this.#places.add(place);
    setDeadline(place.deadline, this.#settings.timeout);
    this.#announce();
    this.#lookLater();
    return place;
  }

  /** 0: there is no room. */
  #takeTicket(): number {
    const words = this.#words;
    lockZone(this.#zone);
    try {
      let waiting = 0;
      for (let worker = 0; worker < workersIn(words); worker++) waiting += words[queueAt(words, worker) + COUNT];
      if (waiting >= this.#settings.length) return 0;
      words[this.#own + COUNT]++;
      words[TICKET] = words[TICKET] + 1 || 1;
      return words[TICKET];
    } finally {
      this.#zone.unlock();
    }
  }

  remove(place: QueuePlace): void {
    if (!this.#places.delete(place)) return;
    clearDeadline(place.deadline);
    lockZone(this.#zone);
    this.#words[this.#own + COUNT]--;
    this.#zone.unlock();
    this.#announce();
  }

  /** Tells the other workers which one has waited longest here. */
  #announce(): void {
    const [first] = this.#places;
    Atomics.store(this.#words, this.#own + LOOKED, this.#now());
    Atomics.store(this.#words, this.#own + FIRST, first?.ticket ?? 0);
    if (first !== undefined || this.#timer === undefined) return;
    this.#timer.clear();
    this.#timer = undefined;
  }

  /** A connection to a server has ended. Whoever waits gets it once the current event is over. */
  released(): void {
    if (this.#places.size === 0 || this.#looking) return;
    this.#looking = true;
    defer(() => {
      this.#looking = false;
      this.#look();
    }, undefined);
  }

  #lookLater(): void {
    if (this.#timer !== undefined || this.#places.size === 0) return;
    this.#timer = startTimer(LOOK_MS, () => {
      this.#timer = undefined;
      this.#announce();
      this.#look();
      this.#lookLater();
    });
  }

  #look(): void {
    for (const place of this.#places) {
      if (!this.#mayTake(place.ticket)) return;
      const peer = this.#next(place.user.attempt);
      if (peer === undefined) return;
      place.leave();
      guarded(() => place.user.onPeer(peer), place.user);
    }
  }

  #now(): number {
    return (this.#clock() % 0x80000000) | 0;
  }

  /** No worker has one that came so much earlier. */
  #mayTake(ticket: number): boolean {
    const words = this.#words;
    for (let worker = 0; worker < workersIn(words); worker++) {
      const at = queueAt(words, worker);
      if (at === this.#own) continue;
      const first = Atomics.load(words, at + FIRST);
      if (first === 0 || ((ticket - first) | 0) <= OVERTAKEN) continue;
      if (((this.#now() - Atomics.load(words, at + LOOKED)) & 0x7fffffff) < HANGS_MS) return false;
    }
    return true;
  }
}
