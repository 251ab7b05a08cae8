import {
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type Settings,
} from "node:http2";
import type { TestContext } from "node:test";

/** Node's own server of HTTP/2. */

export interface H2Backend {
  readonly address: string;
  readonly port: number;
  /** The connections that there are and were, in order. */
  readonly sessions: readonly ServerHttp2Session[];
  /** Streams that were opened. */
  readonly streams: number;
}

/** Node's server, with prior knowledge; `answer` gets each request. Closed at the end of the test. */
export async function h2Backend(
  t: TestContext,
  answer: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
  settings: Settings = {},
): Promise<H2Backend> {
  const server = createServer({ settings });
  const sessions: ServerHttp2Session[] = [];
  let streams = 0;
  server.on("session", (session) => {
    sessions.push(session);
    session.on("error", () => {});
    session.on("stream", (stream, headers) => {
      streams++;
      stream.on("error", () => {});
      answer(stream, headers);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  const at = server.address();
  const port = typeof at === "object" && at !== null ? at.port : 0;
  return {
    address: `127.0.0.1:${port}`,
    port,
    sessions,
    get streams() {
      return streams;
    },
  };
}

/** Reads a request to its end and answers it, as gRPC does: with the body that `reply` makes of it, and a trailer. */
export function unary(stream: ServerHttp2Stream, reply: (body: Buffer) => Buffer | string, status = "0"): void {
  const pieces: Buffer[] = [];
  stream.on("data", (piece: Buffer) => pieces.push(piece));
  stream.on("end", () => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": status }));
    stream.end(reply(Buffer.concat(pieces)));
  });
}
