import { randomInt } from "node:crypto";
import { clearDeadline, Deadline, setDeadline } from "../runtime/timers.ts";
import { type Address, addressText } from "./address.ts";
import { type DnsExchange, startExchange } from "./dns_exchange.ts";
import { A, AAAA, type DnsAnswer, encodeQuery } from "./dns_message.ts";

/** What a name came to: addresses without a port, or nginx's state (a DNS response code, or 110 for a timeout). */
export type Resolution = { readonly addresses: readonly Address[] } | { readonly state: number };

const HOST_NOT_FOUND = 3;
const TIMED_OUT = 110;

const STATES = ["Format error", "Server failure", "Host not found", "Unimplemented", "Operation refused"];

/** nginx's words for a state. */
export function resolutionText(state: number): string {
  return state === TIMED_OUT ? "Operation timed out" : (STATES[state - 1] ?? "Unknown error");
}

export interface ResolverOptions {
  readonly servers: readonly Address[];
  /** ms that every answer is kept; 0: as long as it says. */
  readonly valid: number;
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  /** Sentences for the error log, level error. */
  readonly log: (message: string) => void;
}

/** A query is repeated, at the next server, when nothing came for so long; ms. */
const RESEND = 5000;
/** A name nobody asked for is forgotten so long after its answer ran out; ms. */
const FORGET = 30_000;
/** CNAMEs followed for one name. */
const MOST_CNAMES = 50;

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
    this.entry?.waiting.delete(this);
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
  /** What has come so far, by type; undefined while it has not. */
  v4: readonly string[] | undefined = undefined;
  v6: readonly string[] | undefined = undefined;
  cname: string | undefined = undefined;
  /** The first error of the two queries. */
  code = 0;
  ttl = 0xffffffff;
  /** Until when the answer holds, ms of the monotonic clock; 0 while it is being asked for. */
  valid = 0;
  forget = 0;
  exchange: DnsExchange | undefined = undefined;
  readonly resend: Deadline<Entry>;

  constructor(resolver: Resolver, name: string) {
    this.resolver = resolver;
    this.name = name;
    this.resend = new Deadline<Entry>(this, unanswered);
  }
}

function unanswered(entry: Entry): void {
  entry.resolver.again(entry);
}

/**
 * Asks name servers in turn for the addresses of names and keeps the answers (ngx_resolver.c). For one thread; several
 * that ask for one name share its query.
 */
export class Resolver {
  private readonly options: ResolverOptions;
  private readonly entries = new Map<string, Entry>();
  private turn = 0;

  constructor(options: ResolverOptions) {
    this.options = options;
  }

  /** Calls `done` once, perhaps at once; after `timeout` ms with TIMED_OUT. */
  resolve(written: string, timeout: number, done: (result: Resolution) => void): Lookup {
    this.forgetOld();
    const lookup = new Lookup(done);
    if (timeout > 0) setDeadline(lookup.deadline, timeout);
    this.join(lookup, written.toLowerCase().replace(/\.$/, ""));
    return lookup;
  }

  private join(lookup: Lookup, name: string): void {
    const known = this.entries.get(name);
    if (known !== undefined) {
      if (known.valid === 0) {
        known.waiting.add(lookup);
        lookup.entry = known;
        // Those who asked first may all have given up.
        if (!known.resend.armed) this.ask(known);
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
    const { ipv4, ipv6 } = this.options;
    if (encodeQuery(0, name, A) === undefined) {
      lookup.finish({ state: HOST_NOT_FOUND });
      return;
    }
    const entry = new Entry(this, name);
    if (!ipv4) entry.v4 = [];
    if (!ipv6) entry.v6 = [];
    entry.waiting.add(lookup);
    lookup.entry = entry;
    this.entries.set(name, entry);
    this.ask(entry);
  }

  /** Sends what has not been answered to the next server. */
  private ask(entry: Entry): void {
    const { servers, log } = this.options;
    entry.exchange?.close();
    const server = servers[this.turn++ % servers.length];
    const queries: { id: number; type: number; bytes: Buffer }[] = [];
    for (const type of [A, AAAA]) {
      if ((type === A ? entry.v4 : entry.v6) !== undefined) continue;
      const id = randomInt(0x10000);
      const bytes = encodeQuery(id, entry.name, type);
      if (bytes !== undefined) queries.push({ id, type, bytes });
    }
    setDeadline(entry.resend, RESEND);
    entry.exchange = startExchange(
      server,
      queries,
      (answer) => this.received(entry, answer),
      (message) => log(`${message}, resolver: ${addressText(server)}`),
    );
  }

  /** Nothing came in time. */
  again(entry: Entry): void {
    if (entry.waiting.size > 0) this.ask(entry);
    else this.drop(entry);
  }

  private received(entry: Entry, answer: DnsAnswer): void {
    const { type, addresses, cname } = answer;
    const first = type === A;
    // As with nginx, of two answers without an address the later one's CNAME is followed.
    entry.cname = addresses.length === 0 ? cname : undefined;
    if (answer.code !== 0 || answer.count === 0) {
      if (first) entry.v4 = [];
      else entry.v6 = [];
      if (answer.code !== 0 && entry.code === 0) entry.code = answer.code;
    } else {
      if (addresses.length === 0 && cname === undefined) {
        this.options.log("no A or CNAME types in DNS response");
        return;
      }
      entry.ttl = Math.min(entry.ttl, answer.ttl);
      if (first) entry.v4 = addresses;
      else entry.v6 = addresses;
    }
    if (entry.v4 === undefined || entry.v6 === undefined) return;
    this.settle(entry);
  }

  /** Everything asked has been answered. */
  private settle(entry: Entry): void {
    clearDeadline(entry.resend);
    entry.exchange?.close();
    entry.exchange = undefined;
    const found = (entry.v4?.length ?? 0) + (entry.v6?.length ?? 0) > 0;
    const waiting = [...entry.waiting];
    entry.waiting.clear();
    if (entry.code !== 0 || (!found && entry.cname === undefined)) {
      // Failures are not kept: the next request asks again.
      this.drop(entry);
      const state = entry.code === 0 ? HOST_NOT_FOUND : entry.code;
      for (const lookup of waiting) lookup.finish({ state });
      return;
    }
    const now = performance.now();
    entry.valid = now + (this.options.valid === 0 ? entry.ttl * 1000 : this.options.valid);
    entry.forget = now + FORGET;
    this.answer(entry, waiting);
  }

  private answer(entry: Entry, waiting: readonly Lookup[]): void {
    const { v4 = [], v6 = [], cname } = entry;
    if (v4.length + v6.length === 0 && cname !== undefined) {
      for (const lookup of waiting) {
        if (lookup.over) continue;
        if (lookup.cnames++ >= MOST_CNAMES) lookup.finish({ state: HOST_NOT_FOUND });
        else this.join(lookup, cname);
      }
      return;
    }
    const addresses: Address[] = [
      ...v4.map((host) => ({ family: "ipv4" as const, host, port: 0 })),
      ...v6.map((host) => ({ family: "ipv6" as const, host, port: 0 })),
    ];
    for (const lookup of waiting) lookup.finish({ addresses });
  }

  private drop(entry: Entry): void {
    clearDeadline(entry.resend);
    entry.exchange?.close();
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
