/**
 * `node idle.ts URL CONNECTIONS PROTOCOL GROUPS`: opens so many connections, one request on each, at most 64 under way at
 * once, then holds them until it is killed. The protocol by its name in ALPN, the groups of TLS in OpenSSL's syntax. Prints
 * "open N" whenever it matters: all answered, or one lost.
 */
import { connect } from "node:net";
import { createSecureContext, connect as secureConnect } from "node:tls";
import * as h2 from "../src/wire/h2/frames.ts";
import { encodeField } from "../src/wire/h2/hpack_encoder.ts";
import { advance, newProgress, requestFor } from "./client.ts";

const url = new URL(process.argv[2]);
const wanted = Number(process.argv[3]);
const protocol = process.argv[4];
const http2 = protocol === "h2";
const request = http2 ? firstFrames() : Buffer.from(requestFor(url));
const address = { host: url.hostname, port: Number(url.port) };
const secureContext = url.protocol === "https:" ? createSecureContext({ ecdhCurve: process.argv[5] }) : undefined;
let started = 0;
let answered = 0;
let lost = 0;

/** The preface, SETTINGS and a GET. */
function firstFrames(): Buffer {
  const fields = [
    ":method GET",
    `:scheme ${url.protocol.slice(0, -1)}`,
    `:path ${url.pathname}`,
    `:authority ${url.host}`,
  ];
  const block = fields.map((field) => encodeField(...splitField(field))).join("");
  const head = h2.headersFrames(1, block, true, h2.DEFAULT_FRAME_SIZE);
  return Buffer.from(h2.PREFACE + h2.settingsFrame([]) + head, "latin1");
}

function splitField(field: string): [name: string, value: string] {
  const at = field.indexOf(" ");
  return [field.slice(0, at), field.slice(at + 1)];
}

/** The status of a whole response. */
type Reader = (bytes: Buffer) => number | undefined;

function http1Reader(): Reader {
  const progress = newProgress();
  return (bytes) => (advance(progress, bytes) ? progress.status : undefined);
}

/** Reads frames until one ends the stream: the one of the answer's head before it says the status. */
function http2Reader(): Reader {
  let all = Buffer.alloc(0);
  let status = 0;
  return (bytes) => {
    all = Buffer.concat([all, bytes]);
    while (all.length >= h2.FRAME_HEAD) {
      const length = all.readUIntBE(0, 3);
      if (all.length < h2.FRAME_HEAD + length) return undefined;
      const [, , , type, flags] = all;
      // Index 8 of the static table is ":status: 200"; an update of the table's size may stand before it.
      if (type === h2.HEADERS) {
        const first = all.subarray(h2.FRAME_HEAD, h2.FRAME_HEAD + length).find((byte) => byte < 0x20 || byte >= 0x40);
        status = first === 0x88 ? 200 : 500;
      }
      const over = (type === h2.HEADERS || type === h2.DATA) && (flags & h2.FLAG.END_STREAM) !== 0;
      all = all.subarray(h2.FRAME_HEAD + length);
      if (over) return status;
    }
    return undefined;
  };
}

function next(): void {
  if (started === wanted) return;
  started++;
  const read = http2 ? http2Reader() : http1Reader();
  const socket =
    secureContext === undefined
      ? connect(address)
      : secureConnect({
          ...address,
          secureContext,
          ALPNProtocols: [protocol],
          rejectUnauthorized: false,
        });
  socket.write(request);
  socket.on("data", (bytes: Buffer) => {
    const status = read(bytes);
    if (status === undefined) return;
    if (status !== 200) {
      console.log(`open 0: a response of status ${status}`);
      process.exit(1);
    }
    answered++;
    next();
    if (answered === wanted) console.log(`open ${answered - lost}`);
  });
  socket.on("error", (error) => {
    console.log(`open ${answered - lost}: ${error.message}`);
  });
  socket.on("close", () => {
    lost++;
    console.log(`open ${answered - lost}`);
  });
}

for (let count = 0; count < 64; count++) next();
