import type { Socket } from "node:dgram";
import { dgram } from "../sys/builtin.ts";
import { boundary, contain, guarded } from "../sys/guard.ts";
import { randomBytes } from "../sys/random.ts";
import { clearDeadline, Deadline, setDeadline } from "../sys/timers.ts";
import { type Answer, encodeQuestion, FORMERR, HEADER, REFUSED, readAnswer } from "../wire/dns.ts";
import type { Address } from "./address.ts";

/** Who has sent a query. */
export interface Asker {
  /** The query is over. `server`: the index of the one it was sent to last. */
  answered(answer: Answer, server: number): void;
  /** A server does not know what was asked (FORMERR, or an unknown code), which as in nginx is no answer. */
  misunderstood(code: number, query: Query): void;
  /** None of the servers can be reached, with the error of the last. They are tried again. */
  unreachable(code: string): void;
  /** Nobody has answered for some time: `query.repeat()` sends it again. */
  unanswered(query: Query): void;
}

/**
 * Queries over UDP, as nginx sends them: one that is not answered is sent again to the next server, with
 * the same id, and counts whoever answers it first and however late. c-ares (node:dns) forgets a query that it repeats,
 * so that a server slower than its timeout is never heard; and that timeout shrinks with the latency of a few answers.
 *
 * There is one socket a server, open while queries are pending and connected, so that the kernel drops datagrams of
 * others.
 */
export class UdpQueries {
  /** By id. */
  private readonly pending = new Map<number, Query>();
  private readonly links: readonly Link[];
  private readonly patience: number;

  /** `patience`: the time until a query is sent again, ms. */
  constructor(servers: readonly Address[], patience: number) {
    this.links = servers.map((server) => new Link(server, this.pending));
    this.patience = patience;
  }

  /** Asks the server with index `first`; `name` is in lower case, without a trailing dot. Calls nothing before it returns. */
  ask(name: string, type: number, first: number, asker: Asker): Query {
    const query = new Query(name, encodeQuestion(name, type), first, asker, this);
    let id: number;
    do id = randomBytes(2).readUInt16LE();
    while (this.pending.has(id));
    query.bytes.writeUInt16BE(id, 0);
    this.pending.set(id, query);
    this.send(query);
    return query;
  }

  /** Sends a query to its server. */
  send(query: Query): void {
    setDeadline(query.deadline, this.patience);
    query.link.ask(query);
  }

  linkTo(turn: number): Link {
    return this.links[turn % this.links.length];
  }

  get servers(): number {
    return this.links.length;
  }

  forget(query: Query): void {
    if (this.pending.get(query.id) === query) this.pending.delete(query.id);
  }

  /** Closes the sockets if they are not needed. */
  closeIdle(): void {
    if (this.pending.size === 0) for (const link of this.links) link.close();
  }
}

/** One query. */
export class Query {
  readonly name: string;
  readonly bytes: Buffer;
  readonly asker: Asker;
  readonly deadline: Deadline<Query>;
  /** The server it was sent to last. */
  link: Link;
  private readonly queries: UdpQueries;
  private turn: number;
  /** The number of servers in a row that could not be reached. */
  private failed = 0;

  constructor(name: string, bytes: Buffer, first: number, asker: Asker, queries: UdpQueries) {
    this.name = name;
    this.bytes = bytes;
    this.turn = first;
    this.asker = asker;
    this.queries = queries;
    this.link = queries.linkTo(first);
    this.deadline = new Deadline<Query>(this, unanswered);
  }

  get id(): number {
    return this.bytes.readUInt16BE(0);
  }

  /** Sends it again, to the next server. */
  repeat(): void {
    this.failed = 0;
    this.next();
  }

  unreachable(code: string): void {
    // After the last one the deadline is still armed.
    if (++this.failed < this.queries.servers) this.next();
    else if (this.failed === this.queries.servers) this.asker.unreachable(code);
  }

  received(bytes: Buffer): void {
    const answer = readAnswer(bytes, this.bytes, this.name);
    if (answer === undefined) return;
    if (answer.code === FORMERR || answer.code > REFUSED) {
      this.asker.misunderstood(answer.code, this);
      return;
    }
    this.forget();
    try {
      this.asker.answered(answer, this.turn % this.queries.servers);
    } finally {
      // Not before, since there may be another query now.
      this.queries.closeIdle();
    }
  }

  cancel(): void {
    this.forget();
    this.queries.closeIdle();
  }

  onFault(error: unknown): void {
    this.cancel();
    contain(this.asker, error);
  }

  private forget(): void {
    clearDeadline(this.deadline);
    this.queries.forget(this);
  }

  private next(): void {
    this.link = this.queries.linkTo(++this.turn);
    this.queries.send(this);
  }
}

function unanswered(query: Query): void {
  query.asker.unanswered(query);
}

/** A server's socket. */
class Link {
  private readonly server: Address;
  /** The queries to all servers. */
  private readonly pending: ReadonlyMap<number, Query>;
  private socket: Socket | undefined = undefined;
  private connected = false;

  constructor(server: Address, pending: ReadonlyMap<number, Query>) {
    this.server = server;
    this.pending = pending;
  }

  /** Until the socket is connected, a query waits; `connect` sends it. */
  ask({ bytes }: Query): void {
    if (this.socket === undefined) this.open();
    else if (this.connected) this.socket.send(bytes);
  }

  close(): void {
    this.socket?.close();
    this.socket = undefined;
    this.connected = false;
  }

  private open(): void {
    const { server } = this;
    // Not a name server's address: as if it did not answer.
    if (server.family === "unix") return;
    const socket = dgram().createSocket(server.family === "ipv6" ? "udp6" : "udp4");
    this.socket = socket;
    socket.unref();
    socket.on(
      "connect",
      boundary(undefined, () => {
        if (this.socket !== socket) return;
        this.connected = true;
        for (const query of this.pending.values()) if (query.link === this) socket.send(query.bytes);
      }),
    );
    socket.on(
      "message",
      boundary(undefined, (bytes: Buffer) => {
        if (this.socket === socket && bytes.length >= HEADER) this.received(bytes);
      }),
    );
    socket.on(
      "error",
      boundary(undefined, (error: NodeJS.ErrnoException) => {
        if (this.socket === socket) this.failed(error.code ?? "");
      }),
    );
    socket.connect(server.port, server.host);
  }

  private received(bytes: Buffer): void {
    const query = this.pending.get(bytes.readUInt16BE(0));
    if (query !== undefined) guarded(() => query.received(bytes), query);
  }

  /** ECONNREFUSED and the like: of all queries to this server. */
  private failed(code: string): void {
    this.close();
    for (const query of [...this.pending.values()])
      if (query.link === this) guarded(() => query.unreachable(code), query);
  }
}
