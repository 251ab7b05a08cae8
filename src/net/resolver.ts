import dns from "node:dns";
import { errorText } from "../config/errno.ts";
import { boundary } from "../runtime/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../runtime/timers.ts";
import { type Address, addressText } from "./address.ts";

/** What a name came to: addresses without a port, or nginx's state (a DNS response code, or 110 for a timeout). */
export type Resolution = { readonly addresses: readonly Address[] } | { readonly state: number };

/** A server that an SRV record names (RFC 2782). */
export interface Service {
  readonly name: string;
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
}

export type ServiceResolution = { readonly services: readonly Service[] } | { readonly state: number };

const SERVER_FAILURE = 2;
const HOST_NOT_FOUND = 3;
const TIMED_OUT = 110;

const STATES = ["Format error", "Server failure", "Host not found", "Unimplemented", "Operation refused"];

/** nginx's words for a state. */
export function resolutionText(state: number): string {
  return state === TIMED_OUT ? "Operation timed out" : (STATES[state - 1] ?? "Unknown error");
}

/** The errors of c-ares that are a server's answer, or settle the question without one; any other is silence. */
const CODES: ReadonlyMap<string, number> = new Map([
  [dns.FORMERR, 1],
  [dns.SERVFAIL, SERVER_FAILURE],
  [dns.NOTFOUND, HOST_NOT_FOUND],
  [dns.NOTIMP, 4],
  [dns.REFUSED, 5],
  [dns.BADNAME, HOST_NOT_FOUND],
  // The name is there, without such records.
  [dns.NODATA, 0],
]);

export interface ResolverOptions {
  readonly servers: readonly Address[];
  /** ms that every answer is kept; 0: as long as it says. */
  readonly valid: number;
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  /** Sentences for the error log, level error. */
  readonly log: (message: string) => void;
}

/** How long an alias is kept, whose lifetime c-ares does not tell; ms. What it stands for is kept as long as it says. */
const ALIAS = 30_000;
/** A server has so long to answer before the next one is asked, and a question that nobody answered is repeated; ms. */
const PATIENCE = 5000;
/** A name nobody asked for is forgotten so long after its answer ran out; ms. */
const FORGET = 30_000;
/** CNAMEs followed for one name, as far as servers leave that to us. */
const MOST_CNAMES = 50;
/** Names being asked for at once: each costs memory until it is answered. */
const MOST_PENDING = 10_000;

/** Answers that cannot be read after which a name is asked for again at once, not after PATIENCE. */
const MOST_INVALID = 4;

const TTL = { ttl: true } as const;

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
  /** What has come so far, by type; undefined while it has not. */
  v4: readonly string[] | undefined = undefined;
  v6: readonly string[] | undefined = undefined;
  /** What it stands for, where the server left it to us to ask for that. */
  cname: string | undefined = undefined;
  readonly channel: dns.Resolver;
  /** Answers that were none. */
  invalid = 0;
  /** Seconds, the least of all records. */
  ttl = Number.POSITIVE_INFINITY;
  /** Until when the answer holds, ms of the monotonic clock; 0 while it is being asked for. */
  valid = 0;
  forget = 0;
  /** Given up: what comes for it is of no interest. */
  over = false;
  readonly again: Deadline<Entry>;

  constructor(resolver: Resolver, name: string, channel: dns.Resolver) {
    this.resolver = resolver;
    this.name = name;
    this.channel = channel;
    this.again = new Deadline<Entry>(this, unanswered);
  }

  leave(lookup: Lookup): void {
    if (this.waiting.delete(lookup)) this.resolver.left();
  }
}

function unanswered(entry: Entry): void {
  entry.resolver.ask(entry);
}

/**
 * Asks name servers for the addresses of names and keeps the answers (ngx_resolver.c). For one thread; several that ask
 * for one name share its query. What goes over the network is c-ares' affair: one socket a server however many names are
 * asked for, its ports and ids, TCP for what is too long, another server where one is silent. Names are asked for as they
 * are: neither search domains nor the hosts file are heeded.
 */
export class Resolver {
  private readonly options: ResolverOptions;
  private readonly entries = new Map<string, Entry>();
  /** One for each server: that one is asked first, then the others. Names go to them in turn. */
  private readonly channels: readonly dns.Resolver[];
  private turn = 0;
  /** Names being asked for, and everybody who waits for something. */
  private pending = 0;
  private waiting = 0;

  constructor(options: ResolverOptions) {
    this.options = options;
    const servers = options.servers.flatMap((server) => (server.family === "unix" ? [] : [addressText(server)]));
    this.channels = options.servers.map((_, first) => {
      const channel = new dns.Resolver({ timeout: PATIENCE, maxTimeout: PATIENCE, tries: 1 });
      channel.setServers([...servers.slice(first), ...servers.slice(0, first)]);
      return channel;
    });
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
    const answered = boundary(undefined, (error: NodeJS.ErrnoException | null, records: readonly dns.SrvRecord[]) => {
      this.left();
      if (error === null)
        done({ services: records.map(({ name, port, priority, weight }) => ({ name, port, priority, weight })) });
      else done({ state: CODES.get(error.code ?? "") || (error.code === dns.NODATA ? HOST_NOT_FOUND : TIMED_OUT) });
    });
    this.nextChannel().resolveSrv(name, answered);
  }

  private nextChannel(): dns.Resolver {
    return this.channels[this.turn++ % this.channels.length];
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
    const { ipv4, ipv6 } = this.options;
    const entry = new Entry(this, name, this.nextChannel());
    if (!ipv4) entry.v4 = [];
    if (!ipv6) entry.v6 = [];
    this.entries.set(name, entry);
    this.pending++;
    this.wait(lookup, entry);
    this.ask(entry);
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
    for (const channel of this.channels) channel.cancel();
  }

  /** Asks for what is not known yet: the addresses of one family, then of the other. */
  ask(entry: Entry): void {
    const { name, channel } = entry;
    const done =
      (family: "v4" | "v6") =>
      (error: NodeJS.ErrnoException | null, records: readonly dns.RecordWithTtl[] | undefined): void =>
        this.received(entry, family, error, records);
    if (entry.v4 === undefined) channel.resolve4(name, TTL, boundary(undefined, done("v4")));
    else if (entry.v6 === undefined) channel.resolve6(name, TTL, boundary(undefined, done("v6")));
    else this.settle(entry);
  }

  private received(
    entry: Entry,
    family: "v4" | "v6",
    error: NodeJS.ErrnoException | null,
    records: readonly dns.RecordWithTtl[] | undefined,
  ): void {
    if (entry.over) return;
    const code = error?.code ?? "";
    const state = CODES.get(code);
    if (error === null && records !== undefined) {
      // A value with the highest bit set counts as none (RFC 2181 section 8).
      for (const { ttl } of records) entry.ttl = Math.min(entry.ttl, Math.max(0, ttl | 0));
      entry[family] = records.map(({ address }) => address);
      // Records, but no address among them: the name is an alias.
      if (records.length === 0 && entry.cname === undefined && !entry.v4?.length) this.askAlias(entry);
      else this.ask(entry);
    } else if (state === undefined) {
      this.silent(entry, code);
    } else if (state === 0 || entry.cname !== undefined) {
      entry[family] = [];
      this.ask(entry);
    } else {
      this.fail(entry, state);
    }
  }

  /** No server has answered: asks again, perhaps a little later. */
  private silent(entry: Entry, code: string): void {
    if (code === dns.TIMEOUT) {
      this.ask(entry);
      return;
    }
    this.options.log(`no answer (${errorText(code)}) while resolving ${entry.name}`);
    // Nobody but the server can have sent what is no answer, or one who pretends to be: the true one may be lost with it.
    if (code === dns.BADRESP && ++entry.invalid <= MOST_INVALID) this.ask(entry);
    else setDeadline(entry.again, PATIENCE);
  }

  private askAlias(entry: Entry): void {
    entry.channel.resolveCname(
      entry.name,
      boundary(undefined, (error, names) => {
        if (entry.over) return;
        if (error === null) entry.cname = names[0]?.toLowerCase();
        this.ask(entry);
      }),
    );
  }

  /** Everything asked has been answered. */
  private settle(entry: Entry): void {
    const { v4 = [], v6 = [] } = entry;
    if (v4.length + v6.length > 0) {
      entry.cname = undefined;
      this.keep(entry, entry.ttl * 1000);
    } else if (entry.cname !== undefined) {
      this.keep(entry, ALIAS);
    } else {
      this.fail(entry, HOST_NOT_FOUND);
    }
  }

  private keep(entry: Entry, ms: number): void {
    this.pending--;
    const now = performance.now();
    entry.valid = now + (this.options.valid === 0 ? ms : this.options.valid);
    entry.forget = now + FORGET;
    this.answer(entry, this.release(entry));
  }

  /** Failures are not kept: the next request asks again. */
  private fail(entry: Entry, state: number): void {
    this.drop(entry);
    for (const lookup of this.release(entry)) lookup.finish({ state });
  }

  /** Those who waited, who no longer do. */
  private release(entry: Entry): readonly Lookup[] {
    const waiting = [...entry.waiting];
    entry.waiting.clear();
    this.waiting -= waiting.length;
    for (const lookup of waiting) lookup.entry = undefined;
    return waiting;
  }

  private answer({ v4 = [], v6 = [], cname }: Entry, waiting: readonly Lookup[]): void {
    if (cname !== undefined) {
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

  /** Gives up a question, or forgets one that failed. */
  private drop(entry: Entry): void {
    if (entry.over) return;
    entry.over = true;
    this.pending--;
    clearDeadline(entry.again);
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

/**
 * Whether a name can be asked for as it is: labels of 1 to 63 bytes, 255 with their dots. Other bytes than these have a meaning of
 * their own to c-ares and Node (escapes, IDNA), and no name server's answer would be that to what was asked.
 */
function isName(name: string): boolean {
  return name.length <= 255 && /^[-a-z0-9_*/]{1,63}(?:\.[-a-z0-9_*/]{1,63})*$/.test(name);
}
