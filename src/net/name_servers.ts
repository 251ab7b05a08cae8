import dns from "node:dns";
import { errorText } from "../sys/errno.ts";
import { boundary, logFault } from "../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../sys/timers.ts";
import { type Address, addressText } from "./address.ts";
import { AliasQuestions, TYPE_A, TYPE_AAAA } from "./dns_alias.ts";

/** nginx's states: DNS response codes, or 110 for a timeout. */
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

/** Addresses without a port, or what the name is an alias of, and the least lifetime of all records, in seconds. */
export type NameAnswer =
  | { readonly addresses: readonly Address[]; readonly cname: string | undefined; readonly ttl: number }
  | { readonly state: number };

export interface NameServersOptions {
  readonly servers: readonly Address[];
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  /** Sentences for the error log, level error. */
  readonly log: (message: string) => void;
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

/** A server has so long to answer before the next one is asked, and a question that nobody answered is repeated; ms. */
const PATIENCE = 5000;
/** Answers that cannot be read after which a name is asked for again at once, not after PATIENCE. */
const MOST_INVALID = 4;

const TTL = { ttl: true } as const;

/**
 * The name servers of a resolver. What goes over the network is c-ares' affair: one socket a server however many names are
 * asked for, its ports and ids, TCP for what is too long, another server where one is silent. Only an alias that a server
 * leaves us to follow is asked for by AliasQuestions.
 */
export class NameServers {
  readonly options: NameServersOptions;
  readonly aliases: AliasQuestions;
  /** One for each server: that one is asked first, then the others. Names go to them in turn. */
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

  /** Asks for a name for which `isName` holds; `done` is called later, and not at all after `cancel`. */
  ask(name: string, done: (answer: NameAnswer) => void): NameQuestion {
    const first = this.next();
    const question = new NameQuestion(this, name, first, this.channels[first], done);
    question.ask();
    return question;
  }

  /** The servers of a service, in the order of the answer. `done` is called later, after `cancel` as well. */
  askService(name: string, done: (result: ServiceResolution) => void): void {
    const answered = (error: NodeJS.ErrnoException | null, records: readonly dns.SrvRecord[]): void => {
      if (error === null)
        done({ services: records.map(({ name, port, priority, weight }) => ({ name, port, priority, weight })) });
      else done({ state: CODES.get(error.code ?? "") || (error.code === dns.NODATA ? HOST_NOT_FOUND : TIMED_OUT) });
    };
    this.channels[this.next()].resolveSrv(name, boundary(undefined, answered));
  }

  /** Closes all sockets. The questions must have been given up. */
  cancel(): void {
    for (const channel of this.channels) channel.cancel();
    this.aliases.cancel();
  }

  private next(): number {
    return this.turn++ % this.channels.length;
  }
}

/**
 * One name being asked for: type A, then type AAAA. They are not asked for at once, so that what comes of them does not
 * hang on which answer is faster, an error or a silence costs one question and not two, and no question of type AAAA is
 * under way while it is not known whether the name is an alias. The price is one more round trip to a name server before the
 * first request to a name, none for those that follow while its answer holds; `ipv6=off` saves it.
 */
export class NameQuestion {
  private readonly servers: NameServers;
  private readonly name: string;
  /** The number of the server that is asked first. */
  private readonly first: number;
  private readonly channel: dns.Resolver;
  private readonly done: (answer: NameAnswer) => void;
  /** What has come so far, by type; undefined while it has not. */
  private v4: readonly string[] | undefined = undefined;
  private v6: readonly string[] | undefined = undefined;
  private cname: string | undefined = undefined;
  private ttl = Number.POSITIVE_INFINITY;
  /** Answers that were none. */
  private invalid = 0;
  /** Answered or given up: what else comes for it is of no interest. */
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

  /** An exception in taking an answer: nobody may wait for this name any more. */
  onFault(error: unknown): void {
    logFault(error, ` while resolving ${this.name}`);
    if (!this.over) this.finish({ state: SERVER_FAILURE });
  }

  /** Asks for what is not known yet. */
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
      // Records, but no address among them: the name is an alias.
      if (records.length === 0 && !this.v4?.length) this.askAlias(family === "v4" ? TYPE_A : TYPE_AAAA);
      else this.ask();
    } else if (state === undefined) {
      this.silent(code);
    } else if (state === 0) {
      // No such records, and no alias: as in nginx that takes back what type A had for an alias.
      this[family] = [];
      this.cname = undefined;
      this.ask();
    } else if (this.cname !== undefined) {
      // An alias holds for all types (RFC 1034 section 3.6.2), whether or not the server can say so twice.
      this[family] = [];
      this.ask();
    } else {
      this.finish({ state });
    }
  }

  /** No server has answered: asks again, perhaps a little later. */
  private silent(code: string): void {
    if (code === dns.TIMEOUT) {
      this.ask();
      return;
    }
    this.servers.options.log(`no answer (${errorText(code)}) while resolving ${this.name}`);
    // Nobody but the server can have sent what is no answer, or one who pretends to be: the true one may be lost with it.
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

  /** A value with the highest bit set counts as none (RFC 2181 section 8). */
  private lives(ttl: number): void {
    this.ttl = Math.min(this.ttl, Math.max(0, ttl | 0));
  }

  /** Everything asked has been answered. */
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
 * Whether a name can be asked for as it is: labels of 1 to 63 bytes, 255 with their dots. Other bytes than these have a
 * meaning of their own to c-ares and Node (escapes, IDNA), and no name server's answer would be that to what was asked.
 */
export function isName(name: string): boolean {
  return name.length <= 255 && /^[-a-z0-9_*/]{1,63}(?:\.[-a-z0-9_*/]{1,63})*$/.test(name);
}
