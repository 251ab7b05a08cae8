import dns from "node:dns";
import { errorText } from "../sys/errno.ts";
import { boundary, logFault } from "../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../sys/timers.ts";
import { type Answer, TYPE_A, TYPE_AAAA, TYPE_SRV } from "../wire/dns.ts";
import type { Address } from "./address.ts";
import { ipv4Text, ipv6Text } from "./ip.ts";
import type { NameServers } from "./name_servers.ts";
import {
  HOST_NOT_FOUND,
  type NameAnswer,
  resolutionText,
  SERVER_FAILURE,
  type ServiceAnswer,
  TIMED_OUT,
} from "./resolution.ts";
import type { Asker, Query } from "./udp_queries.ts";

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

const TTL = { ttl: true } as const;
/** How long the records of an answer hold that was too long for a datagram, in seconds, where not one of them fitted. */
const UNKNOWN_TTL = 30;

/** A question about a name, and the queries that it takes. `A`: what the answer is. */
abstract class Question<A> implements Asker {
  protected readonly servers: NameServers;
  protected readonly name: string;
  /** The index of the server to ask: one that has answered is asked again. */
  protected server: number;
  protected query: Query | undefined = undefined;
  protected ttl = Number.POSITIVE_INFINITY;
  private readonly wanted: () => boolean;
  private readonly done: (answer: A | { readonly state: number }) => void;
  /** Answered or canceled: further answers are ignored. */
  private over = false;
  private readonly again: Deadline<Question<A>>;

  constructor(
    servers: NameServers,
    name: string,
    first: number,
    wanted: () => boolean,
    done: (answer: A | { readonly state: number }) => void,
  ) {
    this.servers = servers;
    this.name = name;
    this.server = first;
    this.wanted = wanted;
    this.done = done;
    this.again = new Deadline<Question<A>>(this, askAgain);
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
  abstract ask(): void;
  /** The query's answer; `server` is the index of who gave it. */
  abstract answered(answer: Answer, server: number): void;
  /** A server has answered with that code. */
  protected abstract failed(state: number): void;

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

  /** What is done with c-ares' answer over TCP. `found`: with its records, of which there may be none. */
  protected overTcp<R>(found: (records: readonly R[]) => void) {
    return boundary(this, (error: NodeJS.ErrnoException | null, records: readonly R[] | undefined): void => {
      if (this.over) return;
      const code = error?.code ?? "";
      const state = CODES.get(code);
      if (error === null && records !== undefined) {
        found(records);
      } else if (state === 0) {
        found([]);
      } else if (state !== undefined) {
        this.failed(state);
      } else if (code === dns.TIMEOUT) {
        this.askAgain();
      } else {
        this.unreachable(code);
        setDeadline(this.again, this.servers.patience);
      }
    });
  }

  protected finish(answer: A | { readonly state: number }): void {
    this.cancel();
    this.done(answer);
  }
}

function askAgain<A>(question: Question<A>): void {
  question.askAgain();
}

type Addresses = Exclude<NameAnswer, { readonly state: number }>;

/**
 * The queries for a name's addresses: type A, then type AAAA. Done one after the other the result does not depend on which
 * answer is faster, and an error or timeout costs one query instead of two. The cost is one more round trip for the first
 * request to a name; `ipv6=off` saves it.
 */
export class NameQuestion extends Question<Addresses> {
  /** The addresses of each type; undefined until they are known. */
  private v4: readonly string[] | undefined = undefined;
  private v6: readonly string[] | undefined = undefined;
  private cname: string | undefined = undefined;

  ask(): void {
    const { udp, options } = this.servers;
    if (!options.ipv4) this.v4 ??= [];
    if (!options.ipv6) this.v6 ??= [];
    if (this.v4 === undefined) this.query = udp.ask(this.name, TYPE_A, this.server, this);
    else if (this.v6 === undefined) this.query = udp.ask(this.name, TYPE_AAAA, this.server, this);
    else this.settle();
  }

  answered({ code, truncated, addresses, cname, ttl }: Answer, server: number): void {
    this.server = server;
    if (code !== 0) this.failed(code);
    else if (truncated) this.askOverTcp(cname, ttl);
    else this.received(addresses.map(this.v4 === undefined ? ipv4Host : ipv6Text), cname, ttl);
  }

  /** `cname` is the one in the truncated answer, of which c-ares says nothing. */
  private askOverTcp(cname: string | undefined, cnameTtl: number): void {
    const done = this.overTcp<dns.RecordWithTtl>((records) => {
      const ttls = records.map(({ ttl }) => Math.max(0, ttl | 0));
      const hosts = records.map(({ address }) => address);
      if (hosts.length > 0) this.received(hosts, cname, Math.min(...ttls));
      else this.received([], undefined, cnameTtl);
    });
    const channel = this.servers.channel(this.server);
    if (this.v4 === undefined) channel.resolve4(this.name, TTL, done);
    else channel.resolve6(this.name, TTL, done);
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

  protected failed(state: number): void {
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
}

function ipv4Host(bytes: Buffer): string {
  return ipv4Text(bytes.readUInt32BE());
}

type Services = Exclude<ServiceAnswer, { readonly state: number }>;

/** The query for a name's SRV records. */
export class ServiceQuestion extends Question<Services> {
  ask(): void {
    this.query = this.servers.udp.ask(this.name, TYPE_SRV, this.server, this);
  }

  answered({ code, truncated, services, cname, ttl }: Answer, server: number): void {
    this.server = server;
    if (code !== 0) this.failed(code);
    else if (truncated) this.askOverTcp(Number.isFinite(ttl) ? ttl : UNKNOWN_TTL);
    else if (services.length > 0) this.finish({ services, cname: undefined, ttl });
    else if (cname !== undefined) this.finish({ services, cname, ttl });
    else this.failed(HOST_NOT_FOUND);
  }

  /** `ttl` is that of the records in the truncated answer, since c-ares does not say those of its own. */
  private askOverTcp(ttl: number): void {
    const done = this.overTcp<dns.SrvRecord>((records) => {
      const services = records.map(({ name, port, priority, weight }) => {
        return { name: name.toLowerCase(), port, priority, weight };
      });
      if (services.length > 0) this.finish({ services, cname: undefined, ttl });
      else this.failed(HOST_NOT_FOUND);
    });
    this.servers.channel(this.server).resolveSrv(this.name, done);
  }

  protected failed(state: number): void {
    this.finish({ state });
  }
}
