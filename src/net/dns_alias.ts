import type { Socket } from "node:dgram";
import { dgram } from "../sys/builtin.ts";
import { boundary } from "../sys/guard.ts";
import { randomBytes } from "../sys/random.ts";
import { clearDeadline, Deadline, setDeadline } from "../sys/timers.ts";
import { type Alias, encodeQuestion, HEADER, readAlias } from "../wire/dns.ts";
import type { Address } from "./address.ts";

/**
 * Queries for the CNAME in an answer of type A or AAAA. c-ares (node:dns) follows a CNAME within the answer, but if the
 * answer has no address it reports neither the target nor the TTL; and to a query of type CNAME some servers answer
 * differently. So the same query is sent again here. There is one socket a server, open while queries are pending and
 * connected, so that the kernel drops datagrams of others; answers are matched by id.
 */
export class AliasQuestions {
  private readonly links: readonly Link[];
  private readonly patience: number;

  /** `patience`: the timeout of a query in ms. It is sent twice to each server. */
  constructor(servers: readonly Address[], patience: number) {
    this.links = servers.map((server) => new Link(server));
    this.patience = patience;
  }

  /**
   * Queries the servers in turn, from index `first`; `name` is in lower case, without a trailing dot. `done` gets undefined
   * if there is no alias, or no server answers.
   */
  ask(name: string, type: number, first: number, done: (alias: Alias | undefined) => void): void {
    const links = this.links.map((_, i) => this.links[(first + i) % this.links.length]);
    new Question(name, encodeQuestion(name, type), links, this.patience, done).start();
  }

  /** Cancels all queries without calling `done`. */
  cancel(): void {
    for (const link of this.links) {
      for (const question of link.questions.values()) clearDeadline(question.deadline);
      link.close();
    }
  }
}

/** One query, sent to one server after the other. */
class Question {
  readonly name: string;
  readonly bytes: Buffer;
  readonly deadline: Deadline<Question>;
  id = 0;
  private readonly links: readonly Link[];
  private readonly patience: number;
  private readonly done: (alias: Alias | undefined) => void;
  /** The index of the current server. */
  private at = 0;
  private repeated = false;

  constructor(
    name: string,
    bytes: Buffer,
    links: readonly Link[],
    patience: number,
    done: (alias: Alias | undefined) => void,
  ) {
    this.name = name;
    this.bytes = bytes;
    this.links = links;
    this.patience = patience;
    this.done = done;
    this.deadline = new Deadline<Question>(this, unanswered);
  }

  start(): void {
    const link = this.links[this.at];
    do this.id = randomBytes(2).readUInt16LE();
    while (link.questions.has(this.id));
    this.bytes.writeUInt16BE(this.id, 0);
    this.repeated = false;
    setDeadline(this.deadline, this.patience);
    link.ask(this);
  }

  unanswered(): void {
    if (this.repeated) {
      this.next();
      return;
    }
    this.repeated = true;
    setDeadline(this.deadline, this.patience);
    this.links[this.at].send(this);
  }

  /** The current server does not answer, or cannot. */
  next(): void {
    this.links[this.at].leave(this);
    if (++this.at < this.links.length) this.start();
    else this.finish(undefined);
  }

  finish(alias: Alias | undefined): void {
    clearDeadline(this.deadline);
    this.links[this.at]?.leave(this);
    this.done(alias);
  }
}

function unanswered(question: Question): void {
  question.unanswered();
}

/** The pending queries to one server, by id, and their socket. */
class Link {
  readonly questions = new Map<number, Question>();
  private readonly server: Address;
  private socket: Socket | undefined = undefined;
  private connected = false;

  constructor(server: Address) {
    this.server = server;
  }

  ask(question: Question): void {
    this.questions.set(question.id, question);
    if (this.socket === undefined) this.open();
    else this.send(question);
  }

  /** Until the socket is connected, a query waits; `connect` sends it. */
  send({ bytes }: Question): void {
    if (this.connected) this.socket?.send(bytes);
  }

  leave(question: Question): void {
    if (this.questions.delete(question.id) && this.questions.size === 0) this.close();
  }

  close(): void {
    this.questions.clear();
    this.socket?.close();
    this.socket = undefined;
    this.connected = false;
  }

  private open(): void {
    const { server } = this;
    // Not a name server's address: the query times out.
    if (server.family === "unix") return;
    const socket = dgram().createSocket(server.family === "ipv6" ? "udp6" : "udp4");
    this.socket = socket;
    socket.unref();
    socket.on(
      "connect",
      boundary(undefined, () => {
        if (this.socket !== socket) return;
        this.connected = true;
        for (const question of this.questions.values()) this.send(question);
      }),
    );
    socket.on(
      "message",
      boundary(undefined, (bytes: Buffer) => {
        if (this.socket === socket) this.received(bytes);
      }),
    );
    socket.on(
      "error",
      boundary(undefined, () => {
        if (this.socket === socket) this.failed();
      }),
    );
    socket.connect(server.port, server.host);
  }

  private received(bytes: Buffer): void {
    if (bytes.length < HEADER) return;
    const question = this.questions.get(bytes.readUInt16BE(0));
    if (question === undefined) return;
    const found = readAlias(bytes, question.bytes, question.name);
    if (found === undefined) return;
    if (found === "failed") question.next();
    else question.finish(found === "none" ? undefined : found);
  }

  /** ECONNREFUSED and the like: all queries to this server fail. */
  private failed(): void {
    const questions = [...this.questions.values()];
    this.close();
    for (const question of questions) question.next();
  }
}
