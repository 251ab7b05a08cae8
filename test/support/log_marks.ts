import { oneLine, shortened, withoutNames } from "./h2_transcript.ts";
import type { Running } from "./holdfast.ts";
import { get } from "./tcp.ts";
import { waitFor } from "./wait.ts";

/**
 * Tells what a server's logs say of one case after the other: between them it is asked, on a connection of HTTP/1.1, for a file
 * that is not there, which both logs have a line about.
 */
export class LogMarks {
  readonly #server: Running;
  readonly #port: number;
  readonly #names: Readonly<Record<string, string>>;
  #number = 0;
  #errors = 0;
  #accesses = 0;

  /** `port`: of a server of HTTP/1.1 with a root; `names`: what stands for texts that differ from run to run. */
  constructor(server: Running, port: number, names: Readonly<Record<string, string>> = {}) {
    this.#server = server;
    this.#port = port;
    this.#names = names;
  }

  /** What was logged since the last time: `[level] SENTENCE`, and lines of the access log. */
  async lines(): Promise<string[]> {
    const mark = `mark-${++this.#number}-`;
    await get(this.#port, `/${mark}`);
    const server = this.#server;
    const errors = await waitFor(() => upTo(server.errorLog(), this.#errors, mark), `${mark} in the error log`);
    const accesses = await waitFor(() => upTo(server.accessLog(), this.#accesses, mark), `${mark} in the access log`);
    this.#errors += errors.length;
    this.#accesses += accesses.length;
    const said = errors
      .split("\n")
      .map((line) => /\[(info|warn|error|crit|alert)\] \d+#\d+: (?:\*\d+ )?([\s\S]*)$/.exec(line))
      .filter((match) => match !== null && !match[2].includes("/mark-"))
      .map((match) => `[${match?.[1]}] ${match?.[2]}`);
    const logged = accesses
      .split("\n")
      .filter((line) => line !== "" && !line.includes("/mark-"))
      .map((line) => `access: ${line}`);
    return [...said, ...logged].map((line) =>
      shortened(oneLine(withoutNames(withoutPlaces(line, server, this.#names))), 600),
    );
  }
}

/** Without what differs from start to start. */
export function withoutPlaces(
  line: string,
  { ports, prefix }: Running,
  names: Readonly<Record<string, string>> = {},
): string {
  const pairs = [[prefix, "PREFIX"], ...ports.map((port, i) => [`:${port}`, `:PORT${i}`]), ...Object.entries(names)];
  return pairs.reduce((text, [what, name]) => text.replaceAll(what, name), line);
}

/** Up to the end of the line that the mark is in. */
function upTo(log: string, from: number, mark: string): string | undefined {
  const at = log.indexOf(mark, from);
  const end = at < 0 ? -1 : log.indexOf("\n", at);
  return end < 0 ? undefined : log.slice(from, end + 1);
}

/**
 * A line about a server, without what nginx says depending on when bytes come, of answers that it does not buffer; and without the URI,
 * which Holdfast alone has behind the address where a server speaks HTTP/2.
 */
export function aboutServer(line: string): string {
  return line
    .replace(
      / while (?:reading response header from upstream|reading upstream|sending to client)(?=, client: )/,
      " while reading",
    )
    .replace(/(, upstream: "https?:\/\/[^/"]+)\/[^"]*"/, '$1"');
}
