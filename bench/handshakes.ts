/**
 * The load generator of handshakes: `node handshakes.ts URL CONNECTIONS SECONDS full|resumed`; prints one line of JSON. A
 * connection is opened, agrees on TLS 1.3 over X25519, and is closed from this side; the next one follows. `resumed`: all with
 * the ticket of one before them.
 */
import { connect, createSecureContext } from "node:tls";

const url = new URL(process.argv[2]);
const connections = Number(process.argv[3]);
const durationMs = Number(process.argv[4]) * 1000;
const resumed = process.argv[5] === "resumed";
// The same work for every server, whatever its OpenSSL likes best.
const secureContext = createSecureContext({ minVersion: "TLSv1.3", ecdhCurve: "X25519" });
const options = { host: url.hostname, port: Number(url.port), secureContext, rejectUnauthorized: false };

const latencies: number[] = [];
let errors = 0;
let began = 0;

function open(session: Buffer | undefined): void {
  const from = performance.now();
  const socket = connect({ ...options, session });
  let agreedAfter = 0;
  socket.on("secureConnect", () => {
    agreedAfter = performance.now() - from;
    if (socket.isSessionReused() !== resumed) errors++;
    socket.end();
  });
  socket.on("error", () => {
    errors++;
  });
  socket.on("close", () => {
    if (agreedAfter > 0) latencies.push(agreedAfter);
    if (performance.now() - began < durationMs) open(session);
  });
  socket.resume();
}

function ticket(): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect(options, () => socket.write(`GET ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\n\r\n`));
    socket.on("error", reject);
    socket.on("session", (session: Buffer) => {
      socket.destroy();
      resolve(session);
    });
    socket.resume();
  });
}

const session = resumed ? await ticket() : undefined;
began = performance.now();
for (let count = 0; count < connections; count++) open(session);
setTimeout(() => {
  const seconds = (performance.now() - began) / 1000;
  latencies.sort((a, b) => a - b);
  const p99Ms = latencies[Math.floor(latencies.length * 0.99)] ?? 0;
  console.log(JSON.stringify({ requests: latencies.length, bytes: 0, seconds, p99Ms, errors }));
  process.exit(0);
}, durationMs);
