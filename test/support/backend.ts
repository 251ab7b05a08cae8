import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttpsServer, type ServerOptions } from "node:https";
import { createServer, type Server, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { freePort } from "./ports.ts";
import { PATIENCE_MS } from "./wait.ts";

/** A peer of the test's own that Holdfast connects to. */
export interface Backend {
  readonly port: number;
  /** `127.0.0.1:port`, as an upstream's server. */
  readonly address: string;
  /** How many connections were ever made to it. */
  readonly connections: number;
  /** Stops listening and cuts every connection, as a kill would. Called at the end of the test in any case. */
  close(): Promise<void>;
}

/** One connection to a scripted backend. */
export class BackendConnection {
  readonly socket: Socket;
  /** 1 for the first connection. */
  readonly number: number;
  received = "";
  ended = false;
  #wake: (() => void) | undefined;

  constructor(socket: Socket, number: number) {
    this.socket = socket;
    this.number = number;
    socket.on("data", (bytes) => {
      this.received += bytes.toString("latin1");
      this.#wake?.();
    });
    const finish = () => {
      this.ended = true;
      this.#wake?.();
    };
    socket.on("error", () => {});
    socket.on("end", finish);
    socket.on("close", finish);
  }

  /** A byte string, or bytes. */
  write(data: string | Uint8Array): void {
    this.socket.write(typeof data === "string" ? Buffer.from(data, "latin1") : data);
  }

  end(): void {
    this.socket.end();
  }

  /** Closes with RST. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** Waits until `enough` accepts what has come, takes it all and resolves to it; undefined when the peer closed first. */
  async read(enough: (received: string) => boolean = (received) => received.length > 0): Promise<string | undefined> {
    const end = performance.now() + PATIENCE_MS;
    while (!enough(this.received)) {
      if (this.ended || performance.now() > end) return undefined;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, PATIENCE_MS);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    const all = this.received;
    this.received = "";
    return all;
  }

  /** Reads one request header, and leaves what comes after it (a body) unread. */
  async readHeader(): Promise<string | undefined> {
    const all = await this.read((received) => received.includes("\r\n\r\n"));
    if (all === undefined) return undefined;
    const end = all.indexOf("\r\n\r\n") + 4;
    this.received = all.slice(end) + this.received;
    return all.slice(0, end);
  }
}

/**
 * A TCP server on a free port whose every connection is handled by `script`. What the script throws fails nothing by
 * itself: assert on what the client gets. `t` closes it at the end of the test.
 */
export async function tcpBackend(
  t: TestContext,
  script: (connection: BackendConnection) => void | Promise<void>,
  port?: number,
): Promise<Backend> {
  let connections = 0;
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    connections++;
    track(sockets, socket);
    void Promise.resolve(script(new BackendConnection(socket, connections))).catch(() => socket.destroy());
  });
  return listening(t, server, sockets, () => connections, port);
}

/** A TCP server that answers every request header with the same bytes; it closes after it unless `keep`. */
export function cannedBackend(t: TestContext, response: string, { keep = false } = {}): Promise<Backend> {
  return tcpBackend(t, async (connection) => {
    while ((await connection.readHeader()) !== undefined) {
      connection.write(response);
      if (!keep) {
        connection.end();
        return;
      }
    }
  });
}

/** An HTTP/1 server on a free port; `handle` is a node:http request listener. */
export async function httpBackend(
  t: TestContext,
  handle: (request: IncomingMessage, response: ServerResponse) => void,
  port?: number,
): Promise<Backend> {
  let connections = 0;
  const sockets = new Set<Socket>();
  const server = createHttpServer({ keepAliveTimeout: 60_000 }, handle);
  server.on("connection", (socket: Socket) => {
    connections++;
    track(sockets, socket);
  });
  return listening(t, server, sockets, () => connections, port);
}

/** The same over TLS: Node's own, which Holdfast never serves with. */
export async function httpsBackend(
  t: TestContext,
  options: ServerOptions,
  handle: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<Backend> {
  let connections = 0;
  const sockets = new Set<Socket>();
  const server = createHttpsServer({ keepAliveTimeout: 60_000, ...options }, handle);
  server.on("connection", (socket: Socket) => {
    connections++;
    track(sockets, socket);
  });
  return listening(t, server, sockets, () => connections, undefined);
}

/** Reads the body of a request as a byte string. */
export async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const bytes of request) body += Buffer.from(bytes).toString("latin1");
  return body;
}

function track(sockets: Set<Socket>, socket: Socket): void {
  sockets.add(socket);
  socket.on("error", () => {});
  socket.on("close", () => sockets.delete(socket));
}

async function listening(
  t: TestContext,
  server: Server,
  sockets: ReadonlySet<Socket>,
  count: () => number,
  wanted: number | undefined,
): Promise<Backend> {
  const port = wanted ?? (await freePort());
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closed ??= new Promise((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
    return closed;
  };
  t.after(close);
  return {
    port,
    address: `127.0.0.1:${port}`,
    get connections() {
      return count();
    },
    close,
  };
}
