/** The FastCGI application behind the proxies, run as a program over node:net: answers /fastcgi, and keeps its connections. */
import { createServer } from "node:net";
import type { Command } from "./process.ts";
import { smallBody } from "./scenarios.ts";

export function fastcgiApplication(port: number): Command {
  return { program: process.execPath, args: [import.meta.filename, `${port}`] };
}

const END_REQUEST = 3;
const STDIN = 5;
const STDOUT = 6;

function record(type: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.from([1, type, 0, 1, content.length >> 8, content.length & 0xff, 0, 0]), content]);
}

/** Every request without a body ends with this record. */
const LAST = record(STDIN, Buffer.alloc(0));

/** What it answers. */
export function fastcgiAnswer(): Buffer {
  const fields = `Content-Type: text/plain\r\nContent-Length: ${smallBody.length}\r\n\r\n`;
  return Buffer.concat([
    record(STDOUT, Buffer.from(fields + smallBody)),
    record(STDOUT, Buffer.alloc(0)),
    record(END_REQUEST, Buffer.alloc(8)),
  ]);
}

function serve(port: number): void {
  const answer = fastcgiAnswer();
  const server = createServer({ noDelay: true }, (socket) => {
    let end: Buffer = Buffer.alloc(0);
    socket.on("error", () => socket.destroy());
    socket.on("data", (bytes: Buffer) => {
      end = bytes.length < LAST.length ? Buffer.concat([end, bytes]) : bytes;
      if (end.subarray(-LAST.length).equals(LAST)) socket.write(answer);
    });
  });
  server.listen({ port, host: "127.0.0.1", backlog: 1024 });
}

if (import.meta.main) serve(Number(process.argv[2]));
