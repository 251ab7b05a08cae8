import { type ConnectionOptions, connect } from "node:tls";

/** Everything that comes back over a TLS connection of its own for a request, a byte string. Rejects where no handshake is made. */
export function exchangeOverTls(port: number, request: string, options: ConnectionOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
    let received = "";
    socket.setEncoding("latin1");
    socket.on("secureConnect", () => socket.write(request, "latin1"));
    socket.on("data", (text: string) => {
      received += text;
    });
    socket.on("error", reject);
    socket.on("close", () => resolve(received));
  });
}

export interface TlsReply {
  readonly status: number;
  /** The names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** The answer to a GET with Connection: close; `host` undefined sends none, in HTTP/1.0. */
export async function getOverTls(
  port: number,
  path: string,
  host: string | undefined,
  options: ConnectionOptions = {},
): Promise<TlsReply> {
  const head = host === undefined ? "HTTP/1.0" : `HTTP/1.1\r\nHost: ${host}\r\nConnection: close`;
  const answer = await exchangeOverTls(port, `GET ${path} ${head}\r\n\r\n`, options);
  const end = answer.indexOf("\r\n\r\n");
  const [line, ...fields] = answer.slice(0, end).split("\r\n");
  const headers = new Map(
    fields.map((field) => {
      const colon = field.indexOf(":");
      return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()];
    }),
  );
  return { status: Number(line.split(" ").at(1)), headers, body: answer.slice(end + 4) };
}
