import {
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type Settings,
} from "node:http2";
import { createServer as createTcp, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { PREFACE, settingsFrame } from "../../src/wire/h2/frames.ts";
import { RawH2 } from "./h2.ts";
import { waitFor } from "./wait.ts";

/** Servers of HTTP/2: Node's, and one that sends what bytes it likes. */

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

/** A server on whose connections the test says each byte, once a client's preface has come. */
export class RawH2Server {
  readonly port: number;
  readonly connections: RawH2[] = [];

  private constructor(port: number) {
    this.port = port;
  }

  /** `greeting`: sent on each connection, SETTINGS by default. `accept` gets each one. */
  static async start(
    t: TestContext,
    greeting: string = settingsFrame([]),
    accept: (connection: RawH2) => void = () => {},
  ): Promise<RawH2Server> {
    const sockets = new Set<Socket>();
    let server: RawH2Server | undefined;
    const tcp = createTcp((socket) => {
      sockets.add(socket);
      let before = Buffer.alloc(0);
      const onData = (bytes: Buffer): void => {
        before = Buffer.concat([before, bytes]);
        if (before.length < PREFACE.length) return;
        socket.off("data", onData);
        const connection = new RawH2(socket);
        connection.write(greeting);
        server?.connections.push(connection);
        accept(connection);
        socket.emit("data", before.subarray(PREFACE.length));
      };
      socket.on("data", onData);
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", resolve));
    t.after(() => {
      for (const socket of sockets) socket.destroy();
      tcp.close();
    });
    const at = tcp.address();
    server = new RawH2Server(typeof at === "object" && at !== null ? at.port : 0);
    return server;
  }

  /** The connection of that number, from 0, once it is there. */
  async connection(number: number): Promise<RawH2> {
    await waitFor(() => this.connections.length > number, `connection ${number} of Holdfast`);
    return this.connections[number];
  }
}
