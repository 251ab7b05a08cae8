/**
 * The control socket: a unix socket of the master's beside its pid file, on which the checker answers commands: those of
 * `bin/holdfast cache …`, and whatever else asks. A connection has one request and its answer, each message a line of JSON:
 *
 *     > {"command": "cache ls", "zone": "one"}
 *     < {"key": "http://a/", …}
 *     < {"done": true}
 *
 * The last line of an answer has `done`, or `error` with a sentence. Strings are byte strings, whatever JSON holds them.
 */

/** What a request may ask of a command: values that nobody has checked yet. */
export type CommandRequest = Readonly<Record<string, unknown>>;

export interface CommandReply {
  /** Sends a line of the answer. Resolves when there is room for more: to false where the client has gone. */
  line(value: object): Promise<boolean>;
}

/** Answers a request, and resolves when it has. A CommandError is told to the client. */
export type Command = (request: CommandRequest, reply: CommandReply) => Promise<void>;

/** Its message is a sentence for whoever has asked. */
export class CommandError extends Error {}

/** The most bytes of a request. */
export const MOST_REQUEST = 64 * 1024;
const LF = 10;

export function encodeLine(value: object): string {
  return `${Buffer.from(JSON.stringify(value)).latin1Slice()}\n`;
}

/** A line without its end; undefined where it is no object. */
export function decodeLine(line: string): CommandRequest | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(line, "latin1").toString());
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

/** Takes bytes and gives lines. */
export class LineReader {
  #rest = "";

  /** Bytes that belong to no whole line yet. */
  get waiting(): number {
    return this.#rest.length;
  }

  /** Takes bytes lent for the call. Returns the lines that are whole. */
  read(bytes: Buffer): readonly string[] {
    if (bytes.indexOf(LF) < 0) {
      this.#rest += bytes.latin1Slice();
      return [];
    }
    const lines = (this.#rest + bytes.latin1Slice()).split("\n");
    this.#rest = lines.pop() ?? "";
    return lines;
  }
}
