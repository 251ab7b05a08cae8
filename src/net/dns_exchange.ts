import dgram from "node:dgram";
import net from "node:net";
import type { Address } from "./address.ts";
import { type DnsAnswer, parseAnswer } from "./dns_message.ts";
import { streamError } from "./errors.ts";

/** Queries under way to one name server. */
export interface DnsExchange {
  close(): void;
}

export interface DnsQuery {
  readonly id: number;
  readonly type: number;
  readonly bytes: Buffer;
}

/** The most a TCP answer may be: its length has two bytes (RFC 1035 section 4.2.2). */
const TCP_TIMEOUT = 5000;

/**
 * Sends queries over UDP, from a port of their own; an answer that came truncated is asked for again over TCP. `answered`
 * gets each answer that fits its query, `failed` sentences for the log about everything else.
 */
export function startExchange(
  server: Address,
  queries: readonly DnsQuery[],
  answered: (answer: DnsAnswer) => void,
  failed: (message: string) => void,
): DnsExchange {
  if (server.family === "unix") return { close() {} };
  let open = true;
  const streams = new Set<net.Socket>();
  const left = new Set(queries);

  const take = (bytes: Buffer, tcp: boolean): void => {
    if (!open) return;
    const answer = parseAnswer(bytes);
    if (typeof answer === "string") {
      failed(answer);
      return;
    }
    const query = [...left].find(({ id, type }) => id === answer.id && (answer.type === type || answer.code === 1));
    if (query === undefined) {
      failed(`unexpected DNS response for ${answer.name}`);
      return;
    }
    if (answer.code === 1) {
      // The server did not read the question right: it is repeated like a lost one.
      failed(`DNS error (1: Format error), query id:${answer.id}`);
      return;
    }
    if (!asked(query, answer.name)) {
      failed(`unexpected DNS response for ${answer.name}`);
      return;
    }
    if (answer.truncated) {
      if (!tcp) overTcp(query);
      return;
    }
    left.delete(query);
    answered(answer);
  };

  const overTcp = (query: DnsQuery): void => {
    const stream = net.connect({ host: server.host, port: server.port });
    streams.add(stream);
    stream.unref();
    stream.setTimeout(TCP_TIMEOUT, () => stream.destroy());
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.bytes.length);
    stream.on("connect", () => stream.write(Buffer.concat([length, query.bytes])));
    let received = Buffer.alloc(0);
    stream.on("data", (bytes: Buffer) => {
      received = Buffer.concat([received, bytes]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      const message = received.subarray(2, 2 + received.readUInt16BE(0));
      stream.destroy();
      take(message, true);
    });
    stream.on("error", (error) => failed(`connect() failed (${streamError(error).message}) while resolving`));
    stream.on("close", () => streams.delete(stream));
  };

  const socket = dgram.createSocket(server.family === "ipv6" ? "udp6" : "udp4");
  socket.unref();
  socket.on("message", (bytes) => take(bytes, false));
  socket.on("error", (error) => {
    if (open) failed(`recv() failed (${streamError(error).message}) while resolving`);
  });
  // Connected, so that the kernel drops what others send.
  socket.connect(server.port, server.host, () => {
    if (!open) return;
    for (const { bytes } of queries) socket.send(bytes);
  });
  return {
    close() {
      if (!open) return;
      open = false;
      socket.close();
      for (const stream of streams) stream.destroy();
    },
  };
}

/** The answer repeats the question's name, in whatever case. */
function asked({ bytes }: DnsQuery, name: string): boolean {
  let at = 12;
  const labels: string[] = [];
  while (bytes[at] !== 0) {
    labels.push(bytes.latin1Slice(at + 1, at + 1 + bytes[at]));
    at += 1 + bytes[at];
  }
  return labels.join(".") === name;
}
