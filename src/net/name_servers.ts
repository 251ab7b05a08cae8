import dns from "node:dns";
import { errorText } from "../sys/errno.ts";
import { boundary, logFault } from "../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../sys/timers.ts";
import { type AddressAnswer, TYPE_A, TYPE_AAAA } from "../wire/dns.ts";
import { type Address, addressText } from "./address.ts";
import { ipv4Text, ipv6Text } from "./ip.ts";
import { type Asker, type Query, UdpQueries } from "./udp_queries.ts";

/** States as in ngx_resolver.c: DNS response codes, or 110 (ETIMEDOUT). */
export const SERVER_FAILURE = 2;
export const HOST_NOT_FOUND = 3;
export const TIMED_OUT = 110;

const STATES = ["Format error", "Server failure", "Host not found", "Unimplemented", "Operation refused"];

/** ngx_resolver_strerror */
export function resolutionText(state: number): string {
  return state === TIMED_OUT ? "Operation timed out" : (STATES[state - 1] ?? "Unknown error");
}

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
  /** The time until a query is sent again, ms; nginx's by default. @internal Tests have less time. */
  readonly patience?: number;
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

/** The time until a query that is not answered is sent again, as in nginx; ms. */
const PATIENCE = 5000;

const TTL = { ttl: true } as const;

/**
 * The name servers of a resolver. Addresses are queried over UDP (udp_queries.ts); c-ares (node:dns) queries again over
 * TCP where an answer is truncated, and does all for SRV records.
 */
export class NameServers {
  readonly options: NameServersOptions;
  readonly udp: UdpQueries;
  /** c-ares, by the index of the server it asks first; made when it is needed. */
  private readonly channels: (dns.Resolver | undefined)[];
  private turn = 0;

  constructor(options: NameServersOptions) {
    this.options = options;
    this.udp = new UdpQueries(options.servers, options.patience ?? PATIENCE);
    this.channels = options.servers.map(() => undefined);
  }

  /**
   * Resolves a name that `isName` accepts. `done` is called asynchronously, but not after `cancel`. A query that is not
   * answered is repeated while `wanted`, and given up then.
   */
  ask(name: string, wanted: () => boolean, done: (answer: NameAnswer) => void): NameQuestion {
    const question = new NameQuestion(this, name, this.next(), wanted, done);
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
    this.channel(this.next()).resolveSrv(name, boundary(undefined, answered));
  }

  /** Closes the sockets of c-ares. All questions must have been canceled, which closes the others. */
  cancel(): void {
    for (const channel of this.channels) channel?.cancel();
  }

  channel(first: number): dns.Resolver {
    const known = this.channels[first];
    if (known !== undefined) return known;
    const channel = new dns.Resolver({ timeout: PATIENCE, maxTimeout: PATIENCE, tries: 1 });
    const servers = this.options.servers.flatMap((server) => (server.family === "unix" ? [] : [addressText(server)]));
    channel.setServers([...servers.slice(first), ...servers.slice(0, first)]);
    this.channels[first] = channel;
    return channel;
  }

  private next(): number {
    return this.turn++ % this.options.servers.length;
  }
}

/**
 * The queries for one name: type A, then type AAAA. Done one after the other the result does not depend on which answer
 * is faster, and an error or timeout costs one query instead of two. The cost is one more round trip for the first
 * request to a name; `ipv6=off` saves it.
 */
export class NameQuestion implements Asker {
  private readonly servers: NameServers;
  private readonly name: string;
  /** The index of the server to ask: one that has answered is asked again. */
  private server: number;
  private readonly wanted: () => boolean;
  private readonly done: (answer: NameAnswer) => void;
  private query: Query | undefined = undefined;
  /** The addresses of each type; undefined until they are known. */
  private v4: readonly string[] | undefined = undefined;
  private v6: readonly string[] | undefined = undefined;
  private cname: string | undefined = undefined;
  private ttl = Number.POSITIVE_INFINITY;
  /** Answered or canceled: further answers are ignored. */
  private over = false;
  private readonly again: Deadline<NameQuestion>;

  constructor(
    servers: NameServers,
    name: string,
    first: number,
    wanted: () => boolean,
    done: (answer: NameAnswer) => void,
  ) {
    this.servers = servers;
    this.name = name;
    this.server = first;
    this.wanted = wanted;
    this.done = done;
    this.again = new Deadline<NameQuestion>(this, askAgain);
    if (!servers.options.ipv4) this.v4 = [];
    if (!servers.options.ipv6) this.v6 = [];
  }

  cancel(): void {
    this.over = true;
    clearDeadline(this.again);
    this.query?.cancel();
  }

  /** An exception while handling an answer: fails the query, so that nobody waits for ever. */
  onFault(error: unknown): void {
    logFault(error, ` while resolving ${this.name}`);
    if (!this.over) this.finish({ state: SERVER_FAILURE });
  }

  /** Sends the next query. */
  ask(): void {
    if (this.v4 === undefined) this.query = this.servers.udp.ask(this.name, TYPE_A, this.server, this);
    else if (this.v6 === undefined) this.query = this.servers.udp.ask(this.name, TYPE_AAAA, this.server, this);
    else this.settle();
  }

  answered({ code, truncated, addresses, cname, ttl }: AddressAnswer, server: number): void {
    this.server = server;
    if (code !== 0) this.failed(code);
    else if (truncated) this.askOverTcp(cname, ttl);
    else this.received(addresses.map(this.v4 === undefined ? ipv4Host : ipv6Text), cname, ttl);
  }

  misunderstood(code: number, { id, name }: Query): void {
    const text = `DNS error (${code}: ${resolutionText(code)}), query id:${id}, name:"${name}"`;
    this.servers.options.log(text);
  }

  unreachable(code: string): void {
    this.servers.options.log(`no answer (${errorText(code)}) while resolving ${this.name}`);
  }

  unanswered(query: Query): void {
    if (this.wanted()) query.repeat();
    else this.finish({ state: TIMED_OUT });
  }

  askAgain(): void {
    if (this.wanted()) this.ask();
    else this.finish({ state: TIMED_OUT });
  }

  /** `cname` is the one in the truncated answer, of which c-ares says nothing. */
  private askOverTcp(cname: string | undefined, cnameTtl: number): void {
    const done = (error: NodeJS.ErrnoException | null, records: readonly dns.RecordWithTtl[] | undefined): void => {
      if (this.over) return;
      const code = error?.code ?? "";
      const state = CODES.get(code);
      if (error === null && records !== undefined) {
        const ttls = records.map(({ ttl }) => Math.max(0, ttl | 0));
        const hosts = records.map(({ address }) => address);
        this.received(hosts, cname, hosts.length > 0 ? Math.min(...ttls) : cnameTtl);
      } else if (state === 0) {
        this.received([], undefined, cnameTtl);
      } else if (state !== undefined) {
        this.failed(state);
      } else if (code === dns.TIMEOUT) {
        this.askAgain();
      } else {
        this.unreachable(code);
        setDeadline(this.again, PATIENCE);
      }
    };
    const channel = this.servers.channel(this.server);
    if (this.v4 === undefined) channel.resolve4(this.name, TTL, boundary(this, done));
    else channel.resolve6(this.name, TTL, boundary(this, done));
  }

  /** The addresses of the type that was queried. */
  private received(hosts: readonly string[], cname: string | undefined, ttl: number): void {
    this.ttl = Math.min(this.ttl, ttl);
    // As in nginx an answer with neither discards a CNAME of type A.
    if (hosts.length === 0) this.cname = cname;
    if (this.v4 === undefined) this.v4 = hosts;
    else this.v6 = hosts;
    this.ask();
  }

  private failed(state: number): void {
    // A CNAME holds for all types (RFC 1034 section 3.6.2), even if the server fails on the second query.
    if (this.cname !== undefined) {
      this.v6 = [];
      this.ask();
    } else {
      this.finish({ state });
    }
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
  question.askAgain();
}

function ipv4Host(bytes: Buffer): string {
  return ipv4Text(bytes.readUInt32BE());
}

/**
 * Whether a name can be queried: labels of 1 to 63 bytes, 255 with their dots. c-ares and Node would transform other
 * characters (escapes, IDNA) and so query another name.
 */
export function isName(name: string): boolean {
  return name.length <= 255 && /^[-a-z0-9_*/]{1,63}(?:\.[-a-z0-9_*/]{1,63})*$/.test(name);
}
