/**
 * gRPC: the call that is made, how nginx and Holdfast are told of its server, and that server, run as a program over node:net. nginx
 * as the server would answer before it has read the message, and reset the stream then, which not every proxy takes for an answer.
 */
import { createServer } from "node:net";
import type { Command } from "./process.ts";

export const grpcPath = "/bench.Small/Call";

/** A message of 128 bytes, not compressed, behind its length: what is sent, and what is answered. */
export const grpcMessage = Buffer.concat([Buffer.from([0, 0, 0, 0, 128]), Buffer.alloc(128, "Calls are passed on. ")]);

/**
 * nginx has one call at a time on a connection, and h2load 320 under way: with fewer kept connections
 * than that nginx would be measured opening them.
 */
export function grpcConf(port: number): { upstream: string; location: string } {
  return {
    upstream: `
    upstream calls {
        server 127.0.0.1:${port};
        keepalive 320;
        keepalive_requests 100000000;
    }`,
    location: `
        location = ${grpcPath} {
            grpc_pass grpc://calls;
        }`,
  };
}

export function grpcServer(port: number): Command {
  return { program: process.execPath, args: [import.meta.filename, `${port}`] };
}

const DATA = 0;
const HEADERS = 1;
const SETTINGS = 4;
const PING = 6;
const WINDOW_UPDATE = 8;
/** Of DATA and HEADERS; of SETTINGS and PING it is ACK. */
const END_STREAM = 1;
const END_HEADERS = 4;
const FRAME_HEAD = 9;
const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".length;

function frame(type: number, flags: number, stream: number, content: Buffer): Buffer {
  const head = Buffer.alloc(FRAME_HEAD);
  head.writeUIntBE(content.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, content]);
}

function text(value: string): Buffer {
  return Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
}

/** A whole answer. Its fields are literals, so that it needs no state of HPACK (RFC 7541, 6.1 and 6.2.2). */
function answer(stream: number): Buffer {
  const status = Buffer.from([0x88, 0x0f, 0x10]);
  const head = Buffer.concat([status, text("application/grpc")]);
  const trailers = Buffer.concat([Buffer.from([0]), text("grpc-status"), text("0")]);
  return Buffer.concat([
    frame(HEADERS, END_HEADERS, stream, head),
    frame(DATA, 0, stream, grpcMessage),
    frame(HEADERS, END_HEADERS | END_STREAM, stream, trailers),
  ]);
}

/** Where the three numbers of the stream stand in an answer. */
function streamPlaces(): number[] {
  const places: number[] = [];
  const bytes = answer(0);
  for (let at = 0; at < bytes.length; at += FRAME_HEAD + bytes.readUIntBE(at, 3)) places.push(at + 5);
  return places;
}

/** Answers every stream when it ends, whatever it asks for. It goes by no window: each proxy has far more of it than these answers. */
function serve(port: number): void {
  const template = answer(0);
  const places = streamPlaces();
  const moreWindow = Buffer.from([0, 0x10, 0, 0]);
  const server = createServer({ noDelay: true }, (socket) => {
    let rest: Buffer = Buffer.alloc(0);
    let prefaceSeen = false;
    let taken = 0;
    socket.on("error", () => socket.destroy());
    socket.write(frame(SETTINGS, 0, 0, Buffer.alloc(0)));
    socket.write(frame(WINDOW_UPDATE, 0, 0, moreWindow));
    socket.on("data", (piece: Buffer) => {
      const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
      const out: Buffer[] = [];
      let at = 0;
      if (!prefaceSeen && bytes.length >= PREFACE) {
        prefaceSeen = true;
        at = PREFACE;
      }
      while (prefaceSeen && bytes.length - at >= FRAME_HEAD) {
        const end = at + FRAME_HEAD + bytes.readUIntBE(at, 3);
        if (end > bytes.length) break;
        const type = bytes[at + 3];
        const last = (bytes[at + 4] & END_STREAM) !== 0;
        const stream = bytes.readUInt32BE(at + 5);
        if (type === DATA) taken += end - at - FRAME_HEAD;
        if ((type === DATA || type === HEADERS) && last) {
          const response = Buffer.from(template);
          for (const place of places) response.writeUInt32BE(stream, place);
          out.push(response);
        }
        if ((type === SETTINGS || type === PING) && !last) {
          out.push(frame(type, 1, 0, type === PING ? bytes.subarray(at + FRAME_HEAD, end) : Buffer.alloc(0)));
        }
        at = end;
      }
      rest = Buffer.from(bytes.subarray(at));
      if (taken >= 0x100000) {
        taken -= 0x100000;
        out.push(frame(WINDOW_UPDATE, 0, 0, moreWindow));
      }
      if (out.length > 0) socket.write(Buffer.concat(out));
    });
  });
  server.listen({ port, host: "127.0.0.1", backlog: 1024 });
}

if (import.meta.main) serve(Number(process.argv[2]));
