import type { Close, Command, DataFollows } from "./command.ts";
import { parseCommand } from "./line.ts";

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
/** The first byte of a request in memcached's binary protocol. */
const BINARY = 0x80;
/** A line longer than this is no command, unless it asks for many keys. */
const USUAL_LINE = 2048;
/** The most for keys that are asked for at once. */
const MOST_LINE = 1024 * 1024;
const LEAST_ROOM = 256;

const NOTHING = Buffer.alloc(0);
const TOO_LONG: Close = { kind: "close", reason: "client sent too long command line" };
const BINARY_PROTOCOL: Close = { kind: "close", reason: "client speaks memcached's binary protocol" };

/** Reads the commands of one client. What it holds of one that is not whole is never more than the client has sent of it. */
export class CommandReader {
  readonly #mostData: number;
  #bytes: Buffer = NOTHING;
  #at = 0;
  /** What has come of a line, or of a value, in earlier calls. Grows by doubling. */
  #kept: Buffer = NOTHING;
  #keptBytes = 0;
  /** The value that is being read. */
  #data: DataFollows | undefined = undefined;
  /** Bytes to skip: of a value that is not taken, with its line end. */
  #skip = 0;
  #begun = false;

  /** `mostData`: how long a value may be. */
  constructor(mostData: number) {
    this.#mostData = mostData;
  }

  /** What `next` reads. `bytes` are lent until `release`. */
  receive(bytes: Buffer): void {
    this.#bytes = this.#at < this.#bytes.length ? Buffer.concat([this.#bytes.subarray(this.#at), bytes]) : bytes;
    this.#at = 0;
  }

  /** Copies what has not been read. */
  release(): void {
    this.#bytes = this.hasMore ? Buffer.from(this.#bytes.subarray(this.#at)) : NOTHING;
    this.#at = 0;
  }

  /** There are bytes that `next` has not looked at. */
  get hasMore(): boolean {
    return this.#at < this.#bytes.length;
  }

  /** Part of a command has been read. */
  get within(): boolean {
    return this.#keptBytes > 0 || this.#data !== undefined || this.#skip > 0;
  }

  /** The next command; undefined where more bytes are needed for it. */
  next(): Command | undefined {
    for (;;) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, this.#bytes.length - this.#at);
        this.#at += skipped;
        this.#skip -= skipped;
      }
      if (!this.hasMore) return undefined;
      if (this.#data !== undefined) return this.#readData(this.#data);
      const command = this.#readLine();
      if (command === undefined || command.kind !== "data") return command;
      const refused = this.#begin(command);
      if (refused !== undefined) return refused;
    }
  }

  #readLine(): Command | DataFollows | undefined {
    if (!this.#begun) {
      this.#begun = true;
      if (this.#bytes[this.#at] === BINARY) return BINARY_PROTOCOL;
    }
    const from = this.#at;
    const end = this.#bytes.indexOf(LF, from);
    if (end < 0) {
      this.#keep(this.#bytes.length);
      return this.#keptBytes > USUAL_LINE && !this.#asksForMany() ? TOO_LONG : undefined;
    }
    let line: string;
    if (this.#keptBytes === 0) {
      line = this.#bytes.latin1Slice(from, end);
      this.#at = end + 1;
    } else {
      this.#keep(end + 1);
      line = this.#kept.latin1Slice(0, this.#keptBytes - 1);
      this.#forget();
    }
    if (line.length > MOST_LINE) return TOO_LONG;
    return parseCommand(line.length > 1 && line.charCodeAt(line.length - 1) === CR ? line.slice(0, -1) : line);
  }

  /** Whether what has come of a line begins as one that may be long. */
  #asksForMany(): boolean {
    let at = 0;
    while (at < 100 && this.#kept[at] === SPACE) at++;
    return this.#keptBytes <= MOST_LINE && /^gets? /.test(this.#kept.latin1Slice(at, at + 5));
  }

  /** Begins to read a value. Returns the answer to one that is not taken. */
  #begin(data: DataFollows): Command | undefined {
    const { stored, length, error } = data;
    if (stored !== undefined && length <= this.#mostData) {
      this.#data = data;
      return undefined;
    }
    this.#skip = length + 2;
    if (stored === undefined) return { kind: "refused", key: undefined, text: error };
    // An older value must not be found in the place of the one that the client believes to have set.
    const isReplaced = stored.mode === "set" || data.meta !== undefined;
    const isSilent = data.quiet && data.meta === undefined;
    const text = isSilent ? "" : "SERVER_ERROR object too large for cache";
    return { kind: "refused", key: isReplaced ? stored.key : undefined, text };
  }

  #readData(data: DataFollows): Command | undefined {
    const { length, stored, meta, quiet } = data;
    const whole = length + 2;
    const end = Math.min(this.#bytes.length, this.#at + whole - this.#keptBytes);
    this.#keep(end, whole);
    if (this.#keptBytes < whole) return undefined;
    const value = this.#kept.subarray(0, length);
    const isValid = this.#kept[length] === CR && this.#kept[length + 1] === LF;
    this.#data = undefined;
    this.#forget();
    if (!isValid || stored === undefined) {
      return {
        kind: "refused",
        key: undefined,
        text: quiet && meta === undefined ? "" : "CLIENT_ERROR bad data chunk",
      };
    }
    return { kind: "store", ...stored, quiet, data: value, meta };
  }

  /** Takes what has come up to a position. `most`: how much there will be at most. */
  #keep(end: number, most = Number.POSITIVE_INFINITY): void {
    const length = this.#keptBytes + end - this.#at;
    if (length > this.#kept.length) {
      const room = Math.min(most, Math.max(LEAST_ROOM, length, 2 * this.#kept.length));
      const grown = Buffer.allocUnsafeSlow(room);
      this.#kept.copy(grown, 0, 0, this.#keptBytes);
      this.#kept = grown;
    }
    this.#bytes.copy(this.#kept, this.#keptBytes, this.#at, end);
    this.#keptBytes = length;
    this.#at = end;
  }

  /** The buffer goes: a value is the command's now. */
  #forget(): void {
    this.#kept = NOTHING;
    this.#keptBytes = 0;
  }
}
