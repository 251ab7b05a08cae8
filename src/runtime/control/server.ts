import type { Listener } from "../../net/engine.ts";
import { engine } from "../../net/engines.ts";
import { duplicate } from "../../net/listening_socket.ts";
import type { Stream, StreamError, StreamHandler } from "../../net/stream.ts";
import { logFault } from "../../sys/guard.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import {
  type Command,
  CommandError,
  type CommandReply,
  decodeLine,
  encodeLine,
  LineReader,
  MOST_REQUEST,
} from "./protocol.ts";

/** How many connections there are at a time. */
const MOST_CONNECTIONS = 16;
/** How long a request may take to come, and a client to take what was written for it, ms. */
const PATIENCE_MS = 10_000;

/** Answers commands on the control socket, in the checker. */
export class ControlServer {
  /** Those of the configuration in force. */
  commands: ReadonlyMap<string, Command> = new Map();
  #fd = -1;
  #listener: Listener | undefined;
  readonly #connections = new Set<Connection>();

  /** Accepts from that socket, the master's, of which it has a duplicate; -1 for none. Returns what failed. */
  async listen(fd: number): Promise<string | undefined> {
    if (fd === this.#fd) return undefined;
    this.#listener?.close();
    this.#listener = undefined;
    this.#fd = fd;
    if (fd < 0) return undefined;
    try {
      const address = { family: "unix", path: "" } as const;
      this.#listener = await engine().listen(
        { address, fd: duplicate(fd), reusePort: false },
        (stream) => this.#accept(stream),
        () => {},
      );
      return undefined;
    } catch (error) {
      this.#fd = -1;
      return `listen() to the control socket failed (${(error as StreamError).message})`;
    }
  }

  #accept(stream: Stream): StreamHandler {
    const connection = new Connection(stream, this.commands, () => this.#connections.delete(connection));
    if (this.#connections.size >= MOST_CONNECTIONS) connection.refuse("too many commands at a time");
    else this.#connections.add(connection);
    return connection;
  }

  stop(): void {
    this.#listener?.close();
    for (const connection of this.#connections) connection.destroy();
  }
}

/** A client: one request, one answer. */
class Connection implements StreamHandler, CommandReply {
  readonly #stream: Stream;
  readonly #commands: ReadonlyMap<string, Command>;
  readonly #closed: () => void;
  readonly #reader = new LineReader();
  /** Its request has come. */
  #asked = false;
  #timer: Timer | undefined;
  /** Goes on with the answer. */
  #resume: (() => void) | undefined;

  constructor(stream: Stream, commands: ReadonlyMap<string, Command>, closed: () => void) {
    this.#stream = stream;
    this.#commands = commands;
    this.#closed = closed;
    this.#wait();
  }

  destroy(): void {
    this.#timer?.clear();
    this.#stream.destroy();
  }

  #wait(): void {
    this.#timer = startTimer(PATIENCE_MS, () => this.#stream.destroy(), { background: true });
  }

  refuse(sentence: string): void {
    this.#asked = true;
    this.#end({ error: sentence });
  }

  onData(_stream: Stream, bytes: Buffer): void {
    // What follows a request means nothing.
    if (this.#asked) return;
    const [line] = this.#reader.read(bytes);
    if (line === undefined && this.#reader.waiting <= MOST_REQUEST) return;
    this.#asked = true;
    this.#timer?.clear();
    if (line === undefined || line.length > MOST_REQUEST) this.#end({ error: "the request is too long" });
    else this.#answer(line).catch(logFault);
  }

  async #answer(line: string): Promise<void> {
    const request = decodeLine(line);
    const name = request?.command;
    const command = typeof name === "string" ? this.#commands.get(name) : undefined;
    if (request === undefined || command === undefined) {
      this.#end({ error: request === undefined ? "the request is no JSON object" : "there is no such command" });
      return;
    }
    try {
      await command(request, this);
      this.#end({ done: true });
    } catch (error) {
      if (!(error instanceof CommandError)) logFault(error, ` while answering "${name}"`);
      this.#end({ error: error instanceof CommandError ? error.message : "it failed, the error log says why" });
    }
  }

  async line(value: object): Promise<boolean> {
    if (this.#stream.closed) return false;
    if (!this.#stream.write(encodeLine(value))) {
      this.#wait();
      await new Promise<void>((resolve) => {
        this.#resume = resolve;
      });
      this.#timer?.clear();
    }
    return !this.#stream.closed;
  }

  #end(value: object): void {
    this.#stream.write(encodeLine(value));
    this.#stream.end();
    this.#wait();
  }

  onDrain(): void {
    this.#resume?.();
  }

  onEnd(): void {
    // A client may close its side once it has asked.
    if (!this.#asked) this.#stream.destroy();
  }

  onClose(): void {
    this.#timer?.clear();
    this.#closed();
    this.#resume?.();
  }
}
