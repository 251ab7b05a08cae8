/**
 * A client as a process of its own: `host_client_main.ts ADDRESS PORT RATE`. It asks so many times a second, each time on a new
 * connection, and writes what became of each request as a line: when it was sent and over (ms since 1970), and the node's name that
 * answered, or why none did. It ends with its standard input, once all requests are over.
 */
import { connect } from "node:net";

/** A client gives up, ms. */
const PATIENCE_MS = 4000;
const [host = "", port = "", rate = ""] = process.argv.slice(2);

function ask(): void {
  const sent = Date.now();
  let received = "";
  let failure = "";
  const socket = connect({ host, port: Number(port) });
  socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error("timeout")));
  socket.on("connect", () => socket.write("GET / HTTP/1.1\r\nHost: shared\r\nConnection: close\r\n\r\n"));
  socket.on("data", (bytes) => {
    received += bytes.toString("latin1");
  });
  socket.on("error", (error: NodeJS.ErrnoException) => {
    failure = error.code ?? error.message;
  });
  socket.on("close", () => {
    const [head, body] = received.split("\r\n\r\n");
    const node = /^x-node: (.*)$/im.exec(head)?.[1]?.trim();
    const whole = head.startsWith("HTTP/1.1 200 ") && node !== undefined && body !== undefined && body.length > 0;
    const what = failure || (received === "" ? "no answer" : head.split("\r\n")[0]);
    process.stdout.write(
      `${JSON.stringify(whole ? { sent, over: Date.now(), node } : { sent, over: Date.now(), failure: what })}\n`,
    );
  });
}

const timer = setInterval(ask, 1000 / Number(rate));
process.stdin.on("end", () => clearInterval(timer)).resume();
