import dns from "node:dns";
import { errorText } from "../sys/errno.ts";
import { boundary, logFault } from "../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../sys/timers.ts";
import { TYPE_A, TYPE_AAAA } from "../wire/dns.ts";
import { type Address, addressText } from "./address.ts";
import { AliasQuestions } from "./dns_alias.ts";

/** States as in ngx_resolver.c: DNS response codes, or 110 (ETIMEDOUT). */
export const SERVER_FAILURE = 2;
export const HOST_NOT_FOUND = 3;
export const TIMED_OUT = 110;

/** A server that an SRV record names (RFC 2782). */
export interface Service {
  readonly name: string;
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
}

export type ServiceResolution = { readonly services: readonly Service[] } | { readonly state: number };

/** Addresses without a port, or the name that it is an alias of, and the least TTL of all records, in seconds. */
export type NameAnswer =
  | { readonly addresses: readonly Address[]; readonly cname: string | undefined; readonly ttl: number }
  | { readonly state: number };

export interface NameServersOptions {
  readonly servers: readonly Address[];
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  /** Messages for the error log, level error. */
  readonly log: (message: string) => void;
}

/** Errors of c-ares that are an answer of a server, or make one unnecessary. All others mean that no server answered. */
const CODES: ReadonlyMap<string, number> = new Map([
  [dns.FORMERR, 1],
  [dns.SERVFAIL, SERVER_FAILURE],
  [dns.NOTFOUND, HOST_NOT_FOUND],
  [dns.NOTIMP, 4],
  [dns.REFUSED, 5],
  [dns.BADNAME, HOST_NOT_FOUND],
  // The name exists, without such records.
  [dns.NODATA, 0],
]);

/** The timeout before the next server is asked, and the time between attempts if none answers; ms. */
const PATIENCE = 5000;
/** After this many malformed answers the next attempt waits for PATIENCE. */
const MOST_INVALID = 4;

const TTL = { ttl: true } as const;

/**
 * The name servers of a resolver, through c-ares (node:dns), which handles sockets, ids, TCP for long answers and the
 * failover between servers. Only CNAMEs without addresses are queried by AliasQuestions.
 */
export class NameServers {
  readonly options: NameServersOptions;
  readonly aliases: AliasQuestions;
  /** One a server, which asks that server first. They are used in turn, as nginx does. */
  private readonly channels: readonly dns.Resolver[];
  private turn = 0;

  constructor(options: NameServersOptions) {
    this.options = options;
    this.aliases = new AliasQuestions(options.servers, PATIENCE);
    const servers = options.servers.flatMap((server) => (server.family === "unix" ? [] : [addressText(server)]));
    this.channels = options.servers.map((_, first) => {
      const channel = new dns.Resolver({ timeout: PATIENCE, maxTimeout: PATIENCE, tries: 1 });
      channel.setServers([...servers.slice(first), ...servers.slice(0, first)]);
      return channel;
    });
  }

  /** Resolves a name that `isName` accepts. `done` is called asynchronously, but not after `cancel`. */
  ask(name: string, done: (answer: NameAnswer) => void): NameQuestion {
    const first = this.next();
    const question = new NameQuestion(this, name, first, this.channels[first], done);
    question.ask();
    return question;
  }

  /** SRV records, in the order of the answer. `done` is called asynchronously, even after `cancel`. */
  askService(name: string, done: (result: ServiceResolution) => void): void {
    const answered = (error: NodeJS.ErrnoException | null, records: readonly dns.SrvRecord[]): void => {
      if (error === null)
        done({ services: records.map(({ name, port, priority, weight }) => ({ name, port, priority, weight })) });
      else done({ state: CODES.get(error.code ?? "") || (error.code === dns.NODATA ? HOST_NOT_FOUND : TIMED_OUT) });
    };
    this.channels[this.next()].resolveSrv(name, boundary(undefined, answered));
  }

  /** Closes all sockets. All questions must have been canceled. */
  cancel(): void {
    for (const channel of this.channels) channel.cancel();
    this.aliases.cancel();
  }

  private next(): number {
    return this.turn++ % this.channels.length;
  }
}

/**
 * The queries for one name: type A, then type AAAA. Done one after the other the result does not depend on which answer
 * is faster, an error or timeout costs one query instead of two, and AAAA is not queried before it is known whether the
 * name is an alias. The cost is one more round trip for the first request to a name; `ipv6=off` saves it.
 */
export class NameQuestion {
  private readonly servers: NameServers;
  private readonly name: string;
  /** The index of the server that is asked first. */
  private readonly first: number;
  private readonly channel: dns.Resolver;
  private readonly done: (answer: NameAnswer) => void;
  /** The addresses of each type; undefined until they are known. */
  private v4: readonly string[] | undefined = undefined;
  private v6: readonly string[] | undefined = undefined;
  private cname: string | undefined = undefined;
  private ttl = Number.POSITIVE_INFINITY;
  /** The number of malformed answers. */
  private invalid = 0;
  /** Answered or canceled: further answers are ignored. */
  private over = false;
  private readonly again: Deadline<NameQuestion>;

  constructor(
    servers: NameServers,
    name: string,
    first: number,
    channel: dns.Resolver,
    done: (answer: NameAnswer) => void,
  ) {
    this.servers = servers;
    this.name = name;
    this.first = first;
    this.channel = channel;
    this.done = done;
    this.again = new Deadline<NameQuestion>(this, askAgain);
    if (!servers.options.ipv4) this.v4 = [];
    if (!servers.options.ipv6) this.v6 = [];
  }

  cancel(): void {
    this.over = true;
    clearDeadline(this.again);
  }

  /** An exception while handling an answer: fails the query, so that nobody waits for ever. */
  onFault(error: unknown): void {
    logFault(error, ` while resolving ${this.name}`);
    if (!this.over) this.finish({ state: SERVER_FAILURE });
  }

  /** Sends the next query. */
  ask(): void {
    const { name, channel } = this;
    const done =
      (family: "v4" | "v6") =>
      (error: NodeJS.ErrnoException | null, records: readonly dns.RecordWithTtl[] | undefined): void =>
        this.received(family, error, records);
    if (this.v4 === undefined) channel.resolve4(name, TTL, boundary(this, done("v4")));
    else if (this.v6 === undefined) channel.resolve6(name, TTL, boundary(this, done("v6")));
    else this.settle();
  }

  private received(
    family: "v4" | "v6",
    error: NodeJS.ErrnoException | null,
    records: readonly dns.RecordWithTtl[] | undefined,
  ): void {
    if (this.over) return;
    const code = error?.code ?? "";
    const state = CODES.get(code);
    if (error === null && records !== undefined) {
      for (const { ttl } of records) this.lives(ttl);
      this[family] = records.map(({ address }) => address);
      // An answer without addresses that is no error has a CNAME.
      if (records.length === 0 && !this.v4?.length) this.askAlias(family === "v4" ? TYPE_A : TYPE_AAAA);
      else this.ask();
    } else if (state === undefined) {
      this.silent(code);
    } else if (state === 0) {
      // Neither addresses nor a CNAME. As in nginx this discards a CNAME of the A query.
      this[family] = [];
      this.cname = undefined;
      this.ask();
    } else if (this.cname !== undefined) {
      // A CNAME holds for all types (RFC 1034 section 3.6.2), even if the server fails on the second query.
      this[family] = [];
      this.ask();
    } else {
      this.finish({ state });
    }
  }

  /** No server has answered: tries again, after a timeout at once, else later. */
  private silent(code: string): void {
    if (code === dns.TIMEOUT) {
      this.ask();
      return;
    }
    this.servers.options.log(`no answer (${errorText(code)}) while resolving ${this.name}`);
    // A malformed answer may be a forged one, which has ended the query before the genuine answer came.
    if (code === dns.BADRESP && ++this.invalid <= MOST_INVALID) this.ask();
    else setDeadline(this.again, PATIENCE);
  }

  private askAlias(type: number): void {
    this.servers.aliases.ask(this.name, type, this.first, (alias) => {
      if (this.over) return;
      if (alias !== undefined) {
        this.cname = alias.target;
        this.lives(alias.ttl);
      } else {
        this.servers.options.log(`no answer with the alias while resolving ${this.name}`);
      }
      this.ask();
    });
  }

  /** A TTL with the highest bit set counts as zero (RFC 2181 section 8). */
  private lives(ttl: number): void {
    this.ttl = Math.min(this.ttl, Math.max(0, ttl | 0));
  }

  /** All queries have been answered. */
  private settle(): void {
    const addresses: Address[] = [
      ...(this.v4 ?? []).map((host) => ({ family: "ipv4" as const, host, port: 0 })),
      ...(this.v6 ?? []).map((host) => ({ family: "ipv6" as const, host, port: 0 })),
    ];
    const cname = addresses.length > 0 ? undefined : this.cname;
    if (addresses.length === 0 && cname === undefined) this.finish({ state: HOST_NOT_FOUND });
    else this.finish({ addresses, cname, ttl: this.ttl });
  }

  private finish(answer: NameAnswer): void {
    this.cancel();
    this.done(answer);
  }
}

function askAgain(question: NameQuestion): void {
  question.ask();
}

/**
 * Whether a name can be queried: labels of 1 to 63 bytes, 255 with their dots. c-ares and Node would transform other
 * characters (escapes, IDNA) and so query another name.
 */
export function isName(name: string): boolean {
  return name.length <= 255 && /^[-a-z0-9_*/]{1,63}(?:\.[-a-z0-9_*/]{1,63})*$/.test(name);
}
