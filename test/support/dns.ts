import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import type { TestContext } from "node:test";

export interface Question {
  readonly name: string;
  readonly type: number;
}

export interface NameServer {
  /** `127.0.0.1:port` */
  readonly address: string;
  readonly port: number;
  readonly questions: Question[];
}

/**
 * `code`: the response code. `truncated`: over UDP the records do not fit. `before`: datagrams sent ahead of the answer.
 * `delay`: how long the server takes, ms.
 */
export interface Answer {
  readonly code?: number;
  readonly records?: readonly Buffer[];
  readonly truncated?: boolean;
  readonly before?: (query: Buffer, answer: Buffer) => readonly Buffer[];
  readonly delay?: number;
}

export const TYPE = { a: 1, cname: 5, aaaa: 28, srv: 33 } as const;

/** A record's fixed part and data, for the name asked for. */
function record(type: number, ttl: number, data: Buffer): Buffer {
  const head = Buffer.from([0xc0, 0x0c, 0, type, 0, 1, 0, 0, 0, 0, 0, data.length]);
  head.writeUInt32BE(ttl, 6);
  return Buffer.concat([head, data]);
}

export const a = (ttl: number, ip: string): Buffer => record(TYPE.a, ttl, Buffer.from(ip.split(".").map(Number)));
export const cname = (ttl: number, target: string): Buffer => record(TYPE.cname, ttl, nameBytes(target));

export function srv(ttl: number, priority: number, weight: number, port: number, target: string): Buffer {
  const numbers = Buffer.alloc(6);
  for (const [i, value] of [priority, weight, port].entries()) numbers.writeUInt16BE(value, i * 2);
  return record(TYPE.srv, ttl, Buffer.concat([numbers, nameBytes(target)]));
}

function nameBytes(text: string): Buffer {
  const labels = text.split(".").map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`));
  return Buffer.concat([...labels, Buffer.from([0])]);
}

/** A name server of the test's own, over UDP and TCP: `answer` says what to answer, or nothing for no answer. */
export async function nameServer(
  t: TestContext,
  answer: (question: Question, count: number) => Answer | undefined,
): Promise<NameServer> {
  const questions: Question[] = [];
  const given = (bytes: Buffer) => {
    const question = questionOf(bytes);
    questions.push(question);
    const same = questions.filter(({ name, type }) => name === question.name && type === question.type);
    return answer(question, same.length);
  };
  const socket = createSocket("udp4");
  socket.on("message", (bytes, from) => {
    const found = given(bytes);
    if (found === undefined) return;
    const message = found.truncated ? response(bytes, { ...found, records: [] }, 0x83) : response(bytes, found);
    const reply = () => {
      for (const datagram of found.before?.(bytes, message) ?? []) socket.send(datagram, from.port, from.address);
      socket.send(message, from.port, from.address);
    };
    if (found.delay === undefined) reply();
    else setTimeout(reply, found.delay);
  });
  const stream = createServer((connection) => {
    connection.on("error", () => {});
    connection.on("data", (bytes: Buffer) => {
      const found = given(bytes.subarray(2));
      if (found === undefined) return;
      const message = response(bytes.subarray(2), found);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(message.length);
      connection.write(Buffer.concat([length, message]));
    });
  });
  await new Promise<void>((resolve) => stream.listen(0, "127.0.0.1", resolve));
  const bound = stream.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : 0;
  await new Promise<void>((resolve) => socket.bind(port, "127.0.0.1", resolve));
  t.after(() => {
    socket.close();
    stream.close();
  });
  return { address: `127.0.0.1:${port}`, port, questions };
}

function endOfQuestion(bytes: Buffer): number {
  let at = 12;
  while (bytes[at] !== 0) at += 1 + bytes[at];
  return at + 5;
}

function questionOf(bytes: Buffer): Question {
  const labels: string[] = [];
  let at = 12;
  for (; bytes[at] !== 0; at += 1 + bytes[at]) labels.push(bytes.latin1Slice(at + 1, at + 1 + bytes[at]));
  return { name: labels.join("."), type: bytes.readUInt16BE(at + 1) };
}

function response(query: Buffer, { code = 0, records = [] }: Answer, flags = 0x81): Buffer {
  const head = Buffer.from([query[0], query[1], flags, 0x80 | code, 0, 1, 0, records.length, 0, 0, 0, 0]);
  return Buffer.concat([head, query.subarray(12, endOfQuestion(query)), ...records]);
}
