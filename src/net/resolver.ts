import { clearDeadline, Deadline, setDeadline } from "../sys/timers.ts";
import type { Address } from "./address.ts";
import { NameServers, type NameServersOptions } from "./name_servers.ts";
import type { NameQuestion } from "./question.ts";
import {
  HOST_NOT_FOUND,
  isName,
  type NameAnswer,
  SERVER_FAILURE,
  type ServiceAnswer,
  TIMED_OUT,
} from "./resolution.ts";

/**
 * The result of a lookup: addresses without a port, or nginx's state (a DNS response code, or 110 for a timeout).
 * `expires`: until when it holds, ms of the monotonic clock.
 */
export type Resolution =
  | { readonly addresses: readonly Address[]; readonly expires: number }
  | { readonly state: number };

export interface ResolverOptions extends NameServersOptions {
  /** How long answers are kept, ms; 0: for their TTL. */
  readonly valid: number;
}

/** An entry that is not used is deleted this long after it has expired; ms. */
const FORGET = 30_000;
/** How long it holds that there is no such name where no `valid` says otherwise; ms. */
const NEGATIVE = 10_000;
/** How long another failure is kept (RFC 9520 section 3.2: at least a second); ms. */
const FAILURE = 1000;
const MOST_FAILURES = 1000;
/** The longest chain of CNAMEs that is followed. */
export const MOST_CNAMES = 50;
/** The most names queried at a time, since each costs memory until it is answered. */
const MOST_PENDING = 10_000;

/** A caller that waits for a name. */
export class Lookup {
  readonly done: (result: Resolution) => void;
  /** A failure of late is an answer too. */
  readonly patient: boolean;
  readonly deadline: Deadline<Lookup>;
  entry: Entry | undefined = undefined;
  cnames = 0;
  /** When the first of its CNAMEs expires. */
  expires = Number.POSITIVE_INFINITY;
  over = false;

  constructor(done: (result: Resolution) => void, patient: boolean) {
    this.done = done;
    this.patient = patient;
    this.deadline = new Deadline<Lookup>(this, timedOut);
  }

  finish(result: Resolution): void {
    if (this.over) return;
    this.cancel();
    this.done(result);
  }

  cancel(): void {
    this.over = true;
    clearDeadline(this.deadline);
    this.entry?.leave(this);
  }
}

function timedOut(lookup: Lookup): void {
  lookup.finish({ state: TIMED_OUT });
}

/** A name that is being queried, or has been resolved. */
class Entry {
  readonly resolver: Resolver;
  readonly name: string;
  readonly waiting = new Set<Lookup>();
  /** Undefined once it is resolved. */
  question: NameQuestion | undefined = undefined;
  addresses: readonly Address[] = [];
  /** The target of its CNAME, if the answer has no addresses. */
  cname: string | undefined = undefined;
  /** When it expires, ms of the monotonic clock; 0 while it is being queried. */
  valid = 0;
  forget = 0;

  constructor(resolver: Resolver, name: string) {
    this.resolver = resolver;
    this.name = name;
  }

  leave(lookup: Lookup): void {
    if (this.waiting.delete(lookup)) this.resolver.canceled();
  }
}

/**
 * Resolves names and caches the answers (ngx_resolver.c). Concurrent lookups of a name share its queries. As in nginx
 * neither search domains nor the hosts file are used.
 */
export class Resolver {
  private readonly options: ResolverOptions;
  private readonly entries = new Map<string, Entry>();
  private readonly servers: NameServers;
  /** Names that could not be resolved, and until when (ms of the monotonic clock) nobody who is patient asks again. */
  private readonly failures = new Map<string, { readonly state: number; readonly until: number }>();
  /** The number of names being queried, and of lookups that wait. */
  private pending = 0;
  private waiting = 0;

  constructor(options: ResolverOptions) {
    this.options = options;
    this.servers = new NameServers(options);
  }

  /** Resolvers with the same text ask the same servers and keep answers as long. */
  get identity(): string {
    const { servers, valid, ipv4, ipv6 } = this.options;
    return JSON.stringify([servers, valid, ipv4, ipv6]);
  }

  /** When an answer with that TTL (seconds) of now expires, ms of the monotonic clock. */
  expiryOf(ttl: number): number {
    return performance.now() + (this.options.valid === 0 ? ttl * 1000 : this.options.valid);
  }

  /** How long it holds that there is no such name, ms (as in nginx). */
  get negative(): number {
    return this.options.valid === 0 ? NEGATIVE : this.options.valid;
  }

  /**
   * Calls `done` once, possibly before it returns; after `timeout` ms with TIMED_OUT. With `patient` it is also content to hear
   * of a failure that is not long ago.
   */
  resolve(written: string, timeout: number, done: (result: Resolution) => void, patient = false): Lookup {
    this.forgetOld();
    const lookup = new Lookup(done, patient);
    if (timeout > 0) setDeadline(lookup.deadline, timeout);
    this.join(lookup, written.toLowerCase().replace(/\.$/, ""));
    return lookup;
  }

  /**
   * Asks for the SRV records of a name such as `_http._tcp.example.com`, until `cancel` is called. They are not cached: whoever
   * asks keeps them. `done` is called once, asynchronously, but not after `cancel`.
   */
  askService(name: string, done: (answer: ServiceAnswer) => void): { cancel(): void } {
    let over = false;
    const leave = (): boolean => {
      if (over) return false;
      over = true;
      this.canceled();
      return true;
    };
    this.waiting++;
    const question = this.servers.askService(
      name,
      () => true,
      (answer) => {
        if (leave()) done(answer);
      },
    );
    return {
      cancel() {
        question.cancel();
        leave();
      },
    };
  }

  private join(lookup: Lookup, name: string): void {
    const known = this.entries.get(name);
    if (known !== undefined) {
      if (known.valid === 0) {
        this.wait(lookup, known);
        return;
      }
      if (known.valid > performance.now()) {
        known.forget = performance.now() + FORGET;
        this.entries.delete(name);
        this.entries.set(name, known);
        this.answer(known, [lookup]);
        return;
      }
      this.entries.delete(name);
    }
    if (!isName(name)) {
      lookup.finish({ state: HOST_NOT_FOUND });
      return;
    }
    const failure = lookup.patient ? this.failures.get(name) : undefined;
    if (failure !== undefined && failure.until > performance.now()) {
      lookup.finish({ state: failure.state });
      return;
    }
    if (this.pending >= MOST_PENDING) {
      this.options.log("too many names are being resolved");
      lookup.finish({ state: SERVER_FAILURE });
      return;
    }
    const entry = new Entry(this, name);
    this.entries.set(name, entry);
    this.pending++;
    this.wait(lookup, entry);
    entry.question = this.servers.ask(
      name,
      () => entry.waiting.size > 0,
      (answer) => this.answered(entry, answer),
    );
  }

  private wait(lookup: Lookup, entry: Entry): void {
    lookup.entry = entry;
    entry.waiting.add(lookup);
    this.waiting++;
  }

  /** A lookup has been canceled. Once there is none left, all queries are canceled and their sockets closed. */
  canceled(): void {
    this.waiting--;
    if (this.waiting > 0 || this.pending === 0) return;
    for (const entry of this.entries.values()) if (entry.valid === 0) this.drop(entry);
    this.servers.cancel();
  }

  private answered(entry: Entry, answer: NameAnswer): void {
    if ("state" in answer) {
      // Requests ask again, as in nginx: failures are kept for those alone that ask again by themselves.
      const { state } = answer;
      const keep = state === HOST_NOT_FOUND ? this.negative : FAILURE;
      if (this.failures.size >= MOST_FAILURES) this.failures.clear();
      this.failures.set(entry.name, { state, until: performance.now() + keep });
      this.drop(entry);
      for (const lookup of this.takeLookups(entry)) lookup.finish(answer);
      return;
    }
    this.pending--;
    this.failures.delete(entry.name);
    const now = performance.now();
    entry.question = undefined;
    entry.addresses = answer.addresses;
    entry.cname = answer.cname;
    entry.valid = this.expiryOf(answer.ttl);
    entry.forget = now + FORGET;
    this.answer(entry, this.takeLookups(entry));
  }

  /** Takes the waiting lookups off an entry. */
  private takeLookups(entry: Entry): readonly Lookup[] {
    const waiting = [...entry.waiting];
    entry.waiting.clear();
    this.waiting -= waiting.length;
    for (const lookup of waiting) lookup.entry = undefined;
    return waiting;
  }

  private answer({ addresses, cname, valid }: Entry, waiting: readonly Lookup[]): void {
    for (const lookup of waiting) {
      lookup.expires = Math.min(lookup.expires, valid);
      if (cname === undefined) lookup.finish({ addresses, expires: lookup.expires });
      else if (lookup.over) continue;
      else if (lookup.cnames++ >= MOST_CNAMES) lookup.finish({ state: HOST_NOT_FOUND });
      else this.join(lookup, cname);
    }
  }

  /** Deletes an entry that is being queried, or has failed. */
  private drop(entry: Entry): void {
    this.pending--;
    entry.question?.cancel();
    if (this.entries.get(entry.name) === entry) this.entries.delete(entry.name);
  }

  /** Expires up to two entries a lookup, from the least recently used: more than are added. */
  private forgetOld(): void {
    let left = 2;
    const now = performance.now();
    for (const [name, entry] of this.entries) {
      if (left-- === 0) return;
      if (entry.valid !== 0 && entry.forget < now) this.entries.delete(name);
    }
  }
}
