import { clearDeadline, Deadline, setDeadline } from "../sys/timers.ts";
import type { Address } from "./address.ts";
import {
  HOST_NOT_FOUND,
  isName,
  type NameAnswer,
  type NameQuestion,
  NameServers,
  type NameServersOptions,
  SERVER_FAILURE,
  type ServiceResolution,
  TIMED_OUT,
} from "./name_servers.ts";

/** What a name came to: addresses without a port, or nginx's state (a DNS response code, or 110 for a timeout). */
export type Resolution = { readonly addresses: readonly Address[] } | { readonly state: number };

const STATES = ["Format error", "Server failure", "Host not found", "Unimplemented", "Operation refused"];

/** nginx's words for a state. */
export function resolutionText(state: number): string {
  return state === TIMED_OUT ? "Operation timed out" : (STATES[state - 1] ?? "Unknown error");
}

export interface ResolverOptions extends NameServersOptions {
  /** ms that every answer is kept; 0: as long as it says. */
  readonly valid: number;
}

/** A name nobody asked for is forgotten so long after its answer ran out; ms. */
const FORGET = 30_000;
/** CNAMEs followed for one name, as far as servers leave that to us. */
const MOST_CNAMES = 50;
/** Names being asked for at once: each costs memory until it is answered. */
const MOST_PENDING = 10_000;

/** Who waits for a name; `cancel` when nobody does any more. */
export class Lookup {
  readonly done: (result: Resolution) => void;
  readonly deadline: Deadline<Lookup>;
  entry: Entry | undefined = undefined;
  cnames = 0;
  over = false;

  constructor(done: (result: Resolution) => void) {
    this.done = done;
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

/** One name: being asked for, or answered. */
class Entry {
  readonly resolver: Resolver;
  readonly name: string;
  readonly waiting = new Set<Lookup>();
  /** Undefined once it is answered. */
  question: NameQuestion | undefined = undefined;
  addresses: readonly Address[] = [];
  /** What it stands for, where the server left it to us to ask for that. */
  cname: string | undefined = undefined;
  /** Until when the answer holds, ms of the monotonic clock; 0 while it is being asked for. */
  valid = 0;
  forget = 0;

  constructor(resolver: Resolver, name: string) {
    this.resolver = resolver;
    this.name = name;
  }

  leave(lookup: Lookup): void {
    if (this.waiting.delete(lookup)) this.resolver.left();
  }
}

/**
 * Finds the addresses of names and keeps the answers (ngx_resolver.c). For one thread; several that ask for one name share
 * its questions. Names are asked for as they are: neither search domains nor the hosts file are heeded.
 */
export class Resolver {
  private readonly options: ResolverOptions;
  private readonly entries = new Map<string, Entry>();
  private readonly servers: NameServers;
  /** Names being asked for, and everybody who waits for something. */
  private pending = 0;
  private waiting = 0;

  constructor(options: ResolverOptions) {
    this.options = options;
    this.servers = new NameServers(options);
  }

  /** Calls `done` once, perhaps at once; after `timeout` ms with TIMED_OUT. */
  resolve(written: string, timeout: number, done: (result: Resolution) => void): Lookup {
    this.forgetOld();
    const lookup = new Lookup(done);
    if (timeout > 0) setDeadline(lookup.deadline, timeout);
    this.join(lookup, written.toLowerCase().replace(/\.$/, ""));
    return lookup;
  }

  /** The servers of a service by its SRV records (`_http._tcp.example.com`), in the order of the answer; not kept. */
  resolveService(written: string, done: (result: ServiceResolution) => void): void {
    const name = written.toLowerCase().replace(/\.$/, "");
    if (!isName(name)) {
      done({ state: HOST_NOT_FOUND });
      return;
    }
    this.waiting++;
    this.servers.askService(name, (result) => {
      this.left();
      done(result);
    });
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
    if (this.pending >= MOST_PENDING) {
      this.options.log("too many names are being resolved");
      lookup.finish({ state: SERVER_FAILURE });
      return;
    }
    const entry = new Entry(this, name);
    this.entries.set(name, entry);
    this.pending++;
    this.wait(lookup, entry);
    entry.question = this.servers.ask(name, (answer) => this.answered(entry, answer));
  }

  private wait(lookup: Lookup, entry: Entry): void {
    lookup.entry = entry;
    entry.waiting.add(lookup);
    this.waiting++;
  }

  /** One of those who waited does not any more. Once nobody does, all questions are given up, and their sockets. */
  left(): void {
    this.waiting--;
    if (this.waiting > 0 || this.pending === 0) return;
    for (const entry of this.entries.values()) if (entry.valid === 0) this.drop(entry);
    this.servers.cancel();
  }

  private answered(entry: Entry, answer: NameAnswer): void {
    if ("state" in answer) {
      // Failures are not kept: the next request asks again.
      this.drop(entry);
      for (const lookup of this.release(entry)) lookup.finish(answer);
      return;
    }
    this.pending--;
    const now = performance.now();
    entry.question = undefined;
    entry.addresses = answer.addresses;
    entry.cname = answer.cname;
    entry.valid = now + (this.options.valid === 0 ? answer.ttl * 1000 : this.options.valid);
    entry.forget = now + FORGET;
    this.answer(entry, this.release(entry));
  }

  /** Those who waited, who no longer do. */
  private release(entry: Entry): readonly Lookup[] {
    const waiting = [...entry.waiting];
    entry.waiting.clear();
    this.waiting -= waiting.length;
    for (const lookup of waiting) lookup.entry = undefined;
    return waiting;
  }

  private answer({ addresses, cname }: Entry, waiting: readonly Lookup[]): void {
    for (const lookup of waiting) {
      if (cname === undefined) lookup.finish({ addresses });
      else if (lookup.over) continue;
      else if (lookup.cnames++ >= MOST_CNAMES) lookup.finish({ state: HOST_NOT_FOUND });
      else this.join(lookup, cname);
    }
  }

  /** Gives up a question, or forgets one that failed. */
  private drop(entry: Entry): void {
    this.pending--;
    entry.question?.cancel();
    if (this.entries.get(entry.name) === entry) this.entries.delete(entry.name);
  }

  /** Two a lookup, from the one used longest ago: more leave than come. */
  private forgetOld(): void {
    let left = 2;
    const now = performance.now();
    for (const [name, entry] of this.entries) {
      if (left-- === 0) return;
      if (entry.valid !== 0 && entry.forget < now) this.entries.delete(name);
    }
  }
}
