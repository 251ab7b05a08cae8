import type { Closable } from "../../http/server/types.ts";
import { hostText } from "../../net/address.ts";
import { failureText, type Stream, type StreamError, type StreamHandler } from "../../net/stream.ts";
import type { Level } from "../../runtime/log/log.ts";
import { logFault } from "../../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../../sys/timers.ts";
import type { Turn } from "../../sys/turns.ts";
import type { Command, Flush, Get } from "../../wire/memcached_server/command.ts";
import { CommandReader } from "../../wire/memcached_server/reader.ts";
import { mayAnswer, nextTurn } from "./command_turns.ts";
import { type Answer, applyCommand, type ItemCommand, mayChange, type Result, valueAnswer } from "./item_change.ts";
import { type ItemChanger, type ItemStore, UNAVAILABLE } from "./items.ts";
import type { MemcachedSite } from "./site.ts";

/** How many changes one client may have under way; and how many of those that bring a value. */
const MOST_CHANGES = 64;
const MOST_VALUES = 4;
/** So many bytes of answers are put together before they are sent. */
const TOGETHER = 64 * 1024;
const LINE_END = "\r\n";

/**
 * One client that speaks memcached's protocol. Its commands are answered in their order: changes that follow one another go into one
 * transaction, and what only reads waits until they are stored. Who does not read its answers is not read from.
 */
export class MemcachedConnection implements StreamHandler, Closable, ItemChanger, Turn {
  readonly host: MemcachedSite;
  readonly busyWith = undefined;
  earlier: Closable | undefined = undefined;
  later: Closable | undefined = undefined;
  place = -1;
  afterRequest: (() => void) | undefined = undefined;
  readonly #stream: Stream;
  readonly #number: number;
  readonly #reader: CommandReader;
  readonly #deadline: Deadline<MemcachedConnection>;
  #items: ItemStore;
  /** Changes that are not stored yet, in their order. */
  #changes: (ItemCommand | Flush)[] = [];
  /** A command that waits for them. */
  #held: Command | undefined = undefined;
  /** The keys that are being answered, and how many of them have been. */
  #get: Get | undefined = undefined;
  #answered = 0;
  /** The kernel does not take more now. */
  #blocked = false;
  #paused = false;
  /** The turn's share of commands is used up. */
  #waitsForTurn = false;
  #working = false;
  /** Bytes written since they were last sent. */
  #together = 0;
  /** It closes when what there is to answer is answered. */
  #leaving = false;
  #closing = false;

  constructor(stream: Stream, host: MemcachedSite, number: number) {
    this.#stream = stream;
    this.#number = number;
    this.host = host;
    this.#items = host.settings.items;
    this.#reader = new CommandReader(this.#items.mostData);
    this.#deadline = new Deadline<MemcachedConnection>(this, expired);
    this.#watch();
  }

  get idle(): boolean {
    return !this.#isBusy && !this.#reader.within;
  }

  get #isBusy(): boolean {
    return (
      this.#changes.length > 0 ||
      this.#held !== undefined ||
      this.#get !== undefined ||
      this.#blocked ||
      this.#waitsForTurn
    );
  }

  onData(_stream: Stream, bytes: Buffer): void {
    if (this.#closing) return;
    this.host.row.add("bytes_read", bytes.length);
    this.#reader.receive(bytes);
    this.#work();
  }

  onDrain(): void {
    this.#blocked = false;
    if (!this.#closing) this.#work();
  }

  onSent(): void {
    if (this.#closing) this.#stream.destroy();
  }

  onEnd(): void {
    this.#leaving = true;
    if (!this.#closing && !this.#isBusy) this.#close();
  }

  onPeerClosed(): void {}

  onClose(_stream: Stream, error: StreamError | undefined): void {
    clearDeadline(this.#deadline);
    if (error !== undefined) this.#log("info", `${failureText("recv", error)} while reading commands`);
    this.#closing = true;
    this.host.closed(this);
    this.afterRequest?.();
  }

  onFault(error: unknown): void {
    logFault(error, `, client connection: *${this.#number}`);
    this.destroy();
  }

  shutdown(): void {
    this.#leaving = true;
    if (this.idle && !this.#closing) this.#close();
  }

  destroy(): void {
    this.#stream.destroy();
  }

  /** @internal */
  expire(): void {
    if (!this.idle && !this.#closing) this.#log("info", "client timed out (110: Connection timed out)");
    this.destroy();
  }

  onChanged(answer: Answer, result: Result | "failed"): void {
    const command = this.#changes.shift();
    if (this.#closing || command === undefined) return;
    if (command.kind === "flush") this.host.row.add("cmd_flush", 1);
    else if (result !== "failed") this.host.row.addChange(command, result);
    // The answers of a transaction come in one event.
    if (this.#together === 0) this.#stream.cork();
    if (command.kind !== "gat" && command.kind !== "look") this.#send(answer);
    else if (this.#get !== undefined) {
      this.#send(answer);
      // The error ends it: nothing of it follows, END neither.
      if (result === "failed") this.#get = undefined;
    }
    if (this.#changes.length === 0) {
      this.#uncork();
      this.#work();
    }
  }

  /** Goes on as far as that is possible now. */
  #work(): void {
    if (this.#working || this.#waitsForTurn) return;
    this.#working = true;
    const { host } = this;
    const wasBusy = this.#isBusy;
    this.#stream.cork();
    while (this.#mayStep() && this.#step()) if (this.#together >= TOGETHER) this.#flush();
    this.#uncork();
    this.#reader.release();
    this.#working = false;
    if (this.#closing) return;
    if (this.#leaving && this.idle) {
      this.#close();
      return;
    }
    this.#paceReading();
    this.#watch();
    if (!wasBusy && this.idle) host.waits(this);
  }

  #mayStep(): boolean {
    if (this.#closing || this.#blocked) return false;
    if (!this.#reader.hasMore && this.#get === undefined && this.#held === undefined) return false;
    if (mayAnswer(this)) return true;
    this.#waitsForTurn = true;
    nextTurn(this);
    return false;
  }

  onTurn(): void {
    this.#waitsForTurn = false;
    if (!this.#closing) this.#work();
  }

  /** Does what is next. False where that has to wait. */
  #step(): boolean {
    if (this.#get !== undefined) return this.#getNext(this.#get);
    const command = this.#held ?? this.#reader.next();
    if (command === undefined) return false;
    this.#held = command;
    const { length: waiting } = this.#changes;
    if (command.kind === "flush" || mayChange(command)) {
      if (waiting >= MOST_CHANGES) return false;
      this.#held = undefined;
      this.#change(command);
      return true;
    }
    if (waiting > 0) return false;
    this.#held = undefined;
    this.#answer(command);
    return true;
  }

  #change(command: ItemCommand | Flush): void {
    const { items } = this;
    this.#changes.push(command);
    items.change(command, this);
  }

  /** Those of a new cycle when what was asked of the earlier ones is answered: answers come in the order of their commands. */
  private get items(): ItemStore {
    if (this.#changes.length === 0) this.#items = this.host.settings.items;
    return this.#items;
  }

  #answer(command: Exclude<Command, Flush>): void {
    switch (command.kind) {
      case "get":
        this.#get = command;
        this.#answered = 0;
        return;
      case "mg":
      case "me":
        this.#answerMeta(command);
        return;
      case "stats":
        this.#answerStats(command.of);
        return;
      case "reply":
      case "refused":
        if (command.kind === "refused") this.host.row.addChange(command, "miss");
        this.#send({ text: command.text, data: undefined });
        return;
      case "close":
        if (command.reason !== "") this.#log("info", command.reason);
        this.#close();
    }
  }

  /** The next key of a get. */
  #getNext(get: Get): boolean {
    const { host } = this;
    const { keys, withCas, exptime } = get;
    const { length: waiting } = this.#changes;
    if (this.#answered === keys.length) {
      if (waiting > 0) return false;
      this.#get = undefined;
      this.#send({ text: "END", data: undefined });
      return true;
    }
    if (waiting >= MOST_VALUES) return false;
    const key = keys[this.#answered++];
    if (exptime !== undefined) {
      this.#change({ kind: "gat", key, withCas, exptime });
      return true;
    }
    const item = this.items.read(key, Date.now());
    if (item === "later") {
      this.#change({ kind: "look", key, withCas });
      return true;
    }
    if (item === "unavailable") {
      this.#get = undefined;
      this.#send({ text: UNAVAILABLE, data: undefined });
      return true;
    }
    host.row.addGet(item !== undefined);
    if (item !== undefined) this.#send(valueAnswer(key, item, withCas));
    return true;
  }

  #answerMeta(command: Extract<Command, { kind: "mg" | "me" | "md" | "ma" }>): void {
    const { items } = this;
    const now = Date.now();
    const item = items.read(command.key, now);
    if (item === "later") {
      this.#change(command);
      return;
    }
    if (item === "unavailable") {
      this.#send({ text: UNAVAILABLE, data: undefined });
      return;
    }
    const { answer, own, result } = applyCommand(command, item, { now, cas: 0, mostData: items.mostData });
    if (own !== "keep") {
      this.#change(command);
      return;
    }
    this.host.row.addChange(command, result);
    this.#send(answer);
  }

  #answerStats(of: string): void {
    const { settings, statistics } = this.host;
    this.#send({ text: statistics.answer(of, settings.items, settings.maxConnections), data: undefined });
  }

  #send({ text, data }: Answer): void {
    if (text === "") return;
    const line = text + LINE_END;
    this.#stream.write(line);
    let sent = line.length;
    if (data !== undefined) {
      this.#stream.write(data);
      this.#stream.write(LINE_END);
      sent += data.length + LINE_END.length;
    }
    this.#together += sent;
    this.host.row.add("bytes_written", sent);
  }

  #flush(): void {
    this.#uncork();
    this.#stream.cork();
  }

  #uncork(): void {
    this.#together = 0;
    if (!this.#stream.uncork()) this.#blocked = true;
  }

  /** Reads on only where what has been read is dealt with. */
  #paceReading(): void {
    const pause = this.#reader.hasMore || this.#isBusy;
    if (pause === this.#paused) return;
    this.#paused = pause;
    if (pause) this.#stream.pause();
    else this.#stream.resume();
  }

  /** A command that has begun, or an answer, must go on within `timeout`; between them `idle_timeout` counts. */
  #watch(): void {
    const { timeout, idleTimeout } = this.host.settings;
    const ms = this.idle ? idleTimeout : timeout;
    if (ms > 0) setDeadline(this.#deadline, ms);
    else clearDeadline(this.#deadline);
  }

  /** Closes when what was answered has been sent. */
  #close(): void {
    this.#closing = true;
    if (!this.#stream.sending && !this.#working) {
      this.#stream.destroy();
      return;
    }
    setDeadline(this.#deadline, this.host.settings.timeout);
    this.#stream.end();
  }

  #log(level: Level, sentence: string): void {
    this.host.log(level, sentence, hostText(this.#stream.remote), this.#number);
  }
}

function expired(connection: MemcachedConnection): void {
  connection.expire();
}
