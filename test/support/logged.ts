import type { Running } from "./holdfast.ts";
import { get } from "./tcp.ts";
import { waitFor } from "./wait.ts";

/** An answer, and what the error log says of it: `[error] SENTENCE` up to the client's address, from level `error` up. */
export interface Logged {
  readonly status: number;
  readonly body: string;
  readonly log: readonly string[];
}

/** Asks for a path, and waits until the log has so many lines more. nginx writes them at once, Holdfast soon after. */
export async function getLogged(server: Running, path: string, lines: number): Promise<Logged> {
  const before = server.errorLog().length;
  const { status, body } = await get(server.port, path);
  const log = () =>
    [
      ...server
        .errorLog()
        .slice(before)
        .matchAll(/(\[(?:error|crit|alert)\]) \d+#\d+: \*\d+ (.*), client: /g),
    ].map(([, level, sentence]) => `${level} ${sentence}`);
  await waitFor(() => log().length >= lines, `${lines} lines in the log about ${path}`);
  return { status, body, log: log() };
}
