import { engine } from "../../net/engines.ts";
import type { ConnectHandler, Stream, StreamError } from "../../net/stream.ts";
import { type CommandRequest, decodeLine, encodeLine, LineReader } from "./protocol.ts";

/** A line longer than this is nothing that Holdfast answers. */
const MOST_LINE = 1024 * 1024;

/**
 * Asks at a control socket. `line` gets each line of the answer. Resolves to undefined when it is whole, or to the sentence of
 * what failed.
 */
export function ask(path: string, request: object, line: (value: CommandRequest) => void): Promise<string | undefined> {
  return new Promise((resolve) => {
    engine().connect({ address: { family: "unix", path } }, new Client(path, request, line, resolve));
  });
}

class Client implements ConnectHandler {
  readonly #path: string;
  readonly #request: object;
  readonly #line: (value: CommandRequest) => void;
  readonly #resolve: (failed: string | undefined) => void;
  readonly #reader = new LineReader();
  #connected = false;

  constructor(
    path: string,
    request: object,
    line: (value: CommandRequest) => void,
    resolve: (failed: string | undefined) => void,
  ) {
    this.#path = path;
    this.#request = request;
    this.#line = line;
    this.#resolve = resolve;
  }

  onConnect(stream: Stream): void {
    this.#connected = true;
    stream.write(encodeLine(this.#request));
  }

  onData(stream: Stream, bytes: Buffer): void {
    for (const text of this.#reader.read(bytes)) {
      const value = decodeLine(text);
      if (value?.error !== undefined) this.#resolve(String(value.error));
      else if (value?.done === true) this.#resolve(undefined);
      else if (value !== undefined) this.#line(value);
    }
    if (this.#reader.waiting > MOST_LINE) stream.destroy();
  }

  onDrain(): void {}

  onEnd(stream: Stream): void {
    stream.end();
  }

  /** What was resolved before stays. */
  onClose(_stream: Stream, error: StreamError | undefined): void {
    this.#resolve(
      this.#connected ? "the answer was broken off" : refusal(this.#path, error?.code ?? "", error?.message ?? ""),
    );
  }
}

function refusal(path: string, code: string, message: string): string {
  const call = `connect() to unix:${path} failed (${message})`;
  if (code === "ENOENT" || code === "ECONNREFUSED") {
    return `no master is running with this configuration and prefix (-c, -p): ${call}`;
  }
  if (code === "EACCES") return `only the user who has started the master may do that: ${call}`;
  return call;
}
