/** The load generator for machines without wrk: `node generator.ts URL CONNECTIONS SECONDS [FIELD …]`; prints one line of JSON. */
import { connect } from "node:net";
import { advance, newProgress, requestFor } from "./client.ts";

const url = new URL(process.argv[2]);
const connections = Number(process.argv[3]);
const durationMs = Number(process.argv[4]) * 1000;
const request = requestFor(url, process.argv.slice(5));
const closes = /^Connection: close\r$/m.test(request);
const latencies: number[] = [];
const began = performance.now();
let bytes = 0;
let errors = 0;

function open(): void {
  const progress = newProgress();
  let sent = 0;
  const send = () => {
    sent = performance.now();
    socket.write(request);
  };
  const socket = connect({
    host: url.hostname,
    port: Number(url.port),
    noDelay: true,
    onread: {
      buffer: Buffer.allocUnsafeSlow(128 * 1024),
      callback(length, buffer) {
        bytes += length;
        if (advance(progress, Buffer.from(buffer.buffer, buffer.byteOffset, length))) {
          latencies.push(performance.now() - sent);
          if (progress.status >= 400) errors++;
          if (closes) socket.end();
          else send();
        }
        return true;
      },
    },
  });
  socket.on("connect", send);
  socket.on("error", () => {
    errors++;
  });
  socket.on("close", () => {
    if (performance.now() - began < durationMs) setTimeout(open, closes ? 0 : 10);
  });
}

for (let count = 0; count < connections; count++) open();
setTimeout(() => {
  const seconds = (performance.now() - began) / 1000;
  latencies.sort((a, b) => a - b);
  const p99Ms = latencies[Math.floor(latencies.length * 0.99)] ?? 0;
  console.log(JSON.stringify({ requests: latencies.length, bytes, seconds, p99Ms, errors }));
  process.exit(0);
}, durationMs);
