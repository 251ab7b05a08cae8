import dns from "node:dns";
import { type Address, addressText } from "./address.ts";
import { NameQuestion, ServiceQuestion } from "./question.ts";
import type { NameAnswer, ServiceAnswer } from "./resolution.ts";
import { UdpQueries } from "./udp_queries.ts";

export interface NameServersOptions {
  readonly servers: readonly Address[];
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  /** Messages for the error log, level error. */
  readonly log: (message: string) => void;
  /** The time until a query is sent again, ms; nginx's by default. @internal Tests have less time. */
  readonly patience?: number;
}

/** As in nginx. */
const PATIENCE = 5000;

/**
 * The name servers of a resolver. Records are queried over UDP (udp_queries.ts); c-ares (node:dns) queries again over
 * TCP where an answer is truncated.
 */
export class NameServers {
  readonly options: NameServersOptions;
  readonly udp: UdpQueries;
  /** The time until a query that is not answered is sent again; ms. */
  readonly patience: number;
  /** c-ares, by the index of the server it asks first; made when it is needed. */
  private readonly channels: (dns.Resolver | undefined)[];
  private turn = 0;

  constructor(options: NameServersOptions) {
    this.options = options;
    this.patience = options.patience ?? PATIENCE;
    this.udp = new UdpQueries(options.servers, this.patience);
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

  /** The same for a name's SRV records. */
  askService(name: string, wanted: () => boolean, done: (answer: ServiceAnswer) => void): ServiceQuestion {
    const question = new ServiceQuestion(this, name, this.next(), wanted, done);
    question.ask();
    return question;
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
