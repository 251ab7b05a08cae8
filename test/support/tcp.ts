import { connect, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { PATIENCE_MS } from "./wait.ts";

/** Where to connect: a port of 127.0.0.1, or the path of a unix socket. */
export type Target = number | string;

/** A parsed HTTP/1 response. Every string is a byte string (latin1). */
export interface RawResponse {
  /** `HTTP/1.1 200 OK` */
  readonly statusLine: string;
  /** 0 where there is no status line (HTTP/0.9, or no HTTP). */
  readonly status: number;
  /** Names in lower case, in the order sent; a name that comes twice is here twice. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Without chunked framing. */
  readonly body: string;
  /** Header and body exactly as they came. */
  readonly raw: string;
  /** The value of the first header of that name. */
  header(name: string): string | undefined;
}

/** A connection of the test's own, for what is sent in pieces or several times. */
export class RawConnection {
  readonly socket: Socket;
  /** What has come and was not yet read. */
  received = "";
  /** The peer has closed, or reset: no more comes. */
  ended = false;
  /** The code of the error that ended it, ECONNRESET for a reset. */
  error: string | undefined;
  #wake: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (bytes) => {
      this.received += bytes.toString("latin1");
      this.#wake?.();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.error = error.code;
    });
    const finish = () => {
      this.ended = true;
      this.#wake?.();
    };
    socket.on("end", finish);
    socket.on("close", finish);
  }

  static open(target: Target): Promise<RawConnection> {
    return new Promise((resolve, reject) => {
      const options = typeof target === "number" ? { host: "127.0.0.1", port: target } : { path: target };
      const socket = connect({ ...options, allowHalfOpen: true });
      socket.setNoDelay(true);
      const connection = new RawConnection(socket);
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(connection);
      });
    });
  }

  /** Over TLS, once both have agreed: what is read and written is plain. `transport`: the socket below. */
  static async openTls(
    target: Target,
    options: ConnectionOptions = {},
  ): Promise<RawConnection & { readonly transport: Socket }> {
    const transport = (await RawConnection.open(target)).socket;
    transport.removeAllListeners("data");
    const socket = connectTls({ socket: transport, rejectUnauthorized: false, ...options });
    const connection = new RawConnection(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once("secureConnect", resolve).once("error", reject);
      socket.once("close", () => reject(new Error("closed within the handshake")));
    });
    return Object.assign(connection, { transport });
  }

  write(data: string | Uint8Array): void {
    this.socket.write(typeof data === "string" ? Buffer.from(data, "latin1") : data);
  }

  /** Half-closes: no more is sent. */
  end(): void {
    this.socket.end();
  }

  close(): void {
    this.socket.destroy();
  }

  /**
   * Waits until `enough` accepts what has come, or the peer has closed. Does not take it away. Rejects when nothing more has come for
   * so long: a large response takes its time on a busy machine.
   */
  async until(enough: (received: string) => boolean, ms = PATIENCE_MS): Promise<string> {
    let end = performance.now() + ms;
    for (let known = this.received.length; !enough(this.received) && !this.ended; ) {
      if (this.received.length !== known) {
        known = this.received.length;
        end = performance.now() + ms;
      }
      const left = end - performance.now();
      if (left <= 0) throw new Error(`nothing more came within ${ms} ms after: ${JSON.stringify(this.received)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.received;
  }

  /** All that comes until the peer closes. */
  async readAll(ms = PATIENCE_MS): Promise<string> {
    await this.until(() => false, ms);
    const all = this.received;
    this.received = "";
    return all;
  }

  /**
   * The next response, by its own framing; the connection can be used on. Interim responses (1xx but 101) are answers
   * of their own. `head`: the request was HEAD, so there is no body.
   */
  async readResponse({ head = false, ms = PATIENCE_MS } = {}): Promise<RawResponse> {
    await this.until((received) => headerEnd(received) >= 0, ms);
    const end = headerEnd(this.received);
    if (end < 0) throw new Error(`the peer closed before a whole header: ${JSON.stringify(this.received)}`);
    const top = parseHeader(this.received.slice(0, end));
    const { status } = top;
    const length = top.header("content-length");
    let size: number;
    let body: string;
    if (head || status === 204 || status === 304 || (status >= 100 && status < 200)) {
      size = end;
      body = "";
    } else if (/\bchunked$/i.test(top.header("transfer-encoding") ?? "")) {
      await this.until((received) => parseChunked(received, end) !== undefined, ms);
      const chunked = parseChunked(this.received, end);
      if (chunked === undefined)
        throw new Error(`the peer closed within a chunked body: ${JSON.stringify(this.received)}`);
      size = chunked.end;
      body = chunked.body;
    } else if (length !== undefined) {
      size = end + Number(length);
      await this.until((received) => received.length >= size, ms);
      if (this.received.length < size)
        throw new Error(`the peer closed within a body: ${JSON.stringify(this.received)}`);
      body = this.received.slice(end, size);
    } else {
      await this.until(() => false, ms);
      size = this.received.length;
      body = this.received.slice(end);
    }
    const raw = this.received.slice(0, size);
    this.received = this.received.slice(size);
    return { ...top, body, raw };
  }
}

/** Sends bytes on a new connection and resolves to all that comes back until the peer closes. */
export async function send(target: Target, data: string | Uint8Array, ms = PATIENCE_MS): Promise<string> {
  const connection = await RawConnection.open(target);
  try {
    connection.write(data);
    return await connection.readAll(ms);
  } finally {
    connection.close();
  }
}

/** Sends one request on a connection of its own and reads one response, whether or not the peer keeps the connection. */
export async function request(target: Target, data: string | Uint8Array, ms = PATIENCE_MS): Promise<RawResponse> {
  const connection = await RawConnection.open(target);
  try {
    connection.write(data);
    return await connection.readResponse({ head: typeof data === "string" && data.startsWith("HEAD "), ms });
  } finally {
    connection.close();
  }
}

/** `GET path` with `Connection: close`; further header lines without CRLF. */
export function get(target: Target, path: string, ...headers: string[]): Promise<RawResponse> {
  const names = headers.map((header) => header.toLowerCase());
  const host = names.some((header) => header.startsWith("host:")) ? [] : ["Host: localhost"];
  return request(target, [`GET ${path} HTTP/1.1`, ...host, "Connection: close", ...headers, "", ""].join("\r\n"));
}

function headerEnd(text: string): number {
  const at = text.indexOf("\r\n\r\n");
  return at < 0 ? -1 : at + 4;
}

function parseHeader(text: string): RawResponse {
  const [statusLine, ...lines] = text.slice(0, -4).split("\r\n");
  const headers = lines.map((line): [string, string] => {
    const at = line.indexOf(":");
    return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()];
  });
  return {
    statusLine,
    status: Number(/^HTTP\/\d\.\d (\d{3})/.exec(statusLine)?.[1] ?? 0),
    headers,
    body: "",
    raw: text,
    header: (name) => headers.find(([known]) => known === name.toLowerCase())?.[1],
  };
}

/** A chunked body that begins at `at`; undefined while it is not whole. Trailers are read over. */
function parseChunked(text: string, at: number): { readonly body: string; readonly end: number } | undefined {
  let body = "";
  for (let from = at; ; ) {
    const line = text.indexOf("\r\n", from);
    if (line < 0) return undefined;
    const size = Number.parseInt(text.slice(from, line), 16);
    if (Number.isNaN(size)) throw new Error(`no chunk size in ${JSON.stringify(text.slice(from, line))}`);
    from = line + 2;
    if (size === 0) {
      for (;;) {
        const end = text.indexOf("\r\n", from);
        if (end < 0) return undefined;
        if (end === from) return { body, end: end + 2 };
        from = end + 2;
      }
    }
    if (text.length < from + size + 2) return undefined;
    body += text.slice(from, from + size);
    from += size + 2;
  }
}
