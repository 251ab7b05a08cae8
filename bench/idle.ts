/**
 * `node idle.ts URL CONNECTIONS`: opens so many connections, one request on each, at most 64 under way at once, then
 * holds them until it is killed. Prints "open N" whenever it matters: all answered, or one lost.
 */
import { connect } from "node:net";
import { createSecureContext, connect as secureConnect } from "node:tls";
import { advance, newProgress, requestFor } from "./client.ts";

const url = new URL(process.argv[2]);
const wanted = Number(process.argv[3]);
const request = requestFor(url);
const address = { host: url.hostname, port: Number(url.port) };
const secureContext = url.protocol === "https:" ? createSecureContext({ ecdhCurve: "X25519" }) : undefined;
let started = 0;
let answered = 0;
let lost = 0;

function next(): void {
  if (started === wanted) return;
  started++;
  const progress = newProgress();
  const socket =
    secureContext === undefined
      ? connect(address)
      : secureConnect({ ...address, secureContext, rejectUnauthorized: false });
  socket.write(request);
  socket.on("data", (bytes: Buffer) => {
    if (!advance(progress, bytes)) return;
    if (progress.status !== 200) {
      console.log(`open 0: a response of status ${progress.status}`);
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
