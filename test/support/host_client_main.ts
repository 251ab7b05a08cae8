/**
 * A client as a process of its own: `host_client_main.ts ADDRESS PORT RATE KEPT WAIT PROTOCOL PATIENCE`. It asks so many times a second: each time on a
 * new connection or, with KEPT above 0, on so many that it keeps as long as the server does. Responses take WAIT ms. It writes what became of
 * each request as a line: when it was sent and over (ms since 1970), and the node's name that answered, or why none did. It ends with its
 * standard input, once all requests are over. It gives a request up PATIENCE ms after its response was due.
 */
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { HEADERS } from "../../src/wire/h2/frames.ts";

const [host = "", port = "", rate = "", kept = "0", wait = "0", protocol = "http1", patience = ""] =
  process.argv.slice(2);
const PATIENCE_MS = Number(patience);
const KEPT = Number(kept);
const path = wait === "0" ? "/" : `/wait/${wait}`;

/** A response, whole where `length` bytes of its body are there. */
interface Answer {
  readonly status: string;
  readonly node: string | undefined;
  readonly closes: boolean;
}

/** What became of a request. */
type Outcome = { readonly node: string } | { readonly failure: string };

interface Asker {
  ask(done: () => void): void;
}

function tell(sent: number, what: Outcome): void {
  process.stdout.write(`${JSON.stringify({ sent, over: Date.now(), ...what })}\n`);
}

class Http1Asker implements Asker {
  #socket: Socket | undefined;
  #used = false;
  #received = "";
  #sent = 0;
  #busy = false;
  #failure = "";
  #done: () => void = () => {};

  ask(done: () => void): void {
    this.#done = done;
    this.#sent = Date.now();
    this.#received = "";
    this.#failure = "";
    this.#busy = true;
    if (this.#socket === undefined) this.#open();
    else {
      this.#used = true;
      this.#write(this.#socket);
    }
  }

  #open(): void {
    this.#used = false;
    const socket = connect({ host, port: Number(port) });
    this.#socket = socket;
    socket.setTimeout(PATIENCE_MS + Number(wait), () => socket.destroy(this.#busy ? new Error("timeout") : undefined));
    socket.on("connect", () => this.#write(socket));
    socket.on("data", (bytes) => {
      this.#received += bytes.toString("latin1");
      const answer = this.#answer();
      if (answer === undefined || socket !== this.#socket) return;
      if (KEPT === 0 || answer.closes) this.#leave();
      this.#over(
        answer.status === "200" && answer.node !== undefined ? { node: answer.node } : { failure: answer.status },
      );
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.#failure = error.code ?? error.message;
    });
    socket.on("end", () => socket.destroy());
    socket.on("close", () => {
      if (socket !== this.#socket) return;
      this.#socket = undefined;
      if (!this.#busy) return;
      const what = this.#failure || (this.#received === "" ? "no answer" : "half an answer");
      this.#over({ failure: this.#used && this.#received === "" ? `${what} on a connection that was kept` : what });
    });
  }

  #leave(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.destroy();
  }

  #write(socket: Socket): void {
    const connection = KEPT === 0 ? "Connection: close\r\n" : "";
    socket.write(`GET ${path} HTTP/1.1\r\nHost: shared\r\n${connection}\r\n`);
  }

  #answer(): Answer | undefined {
    const [head, body] = this.#received.split("\r\n\r\n");
    if (body === undefined) return undefined;
    const length = /^content-length: (\d+)$/im.exec(head)?.[1];
    const chunked = /^transfer-encoding: chunked/im.test(head);
    if (length !== undefined && body.length < Number(length)) return undefined;
    if (chunked && !this.#received.endsWith("0\r\n\r\n")) return undefined;
    const [, status = head] = /^HTTP\/1\.1 (\d+)/.exec(head) ?? [];
    return { status, node: /^x-node: (.*)$/im.exec(head)?.[1]?.trim(), closes: /^connection: close/im.test(head) };
  }

  #over(what: Outcome): void {
    this.#busy = false;
    tell(this.#sent, what);
    this.#done();
  }
}

/** Keeps a connection of HTTP/2 until it is told to go, and repeats nothing that it has sent. */
class Http2Asker implements Asker {
  #session: ClientHttp2Session | undefined;

  ask(done: () => void): void {
    this.#ask(Date.now(), done);
  }

  #open(): ClientHttp2Session {
    let session = this.#session;
    if (session === undefined || session.closed || session.destroyed) {
      session = connectHttp2(`http://${host}:${port}`);
      session.on("error", () => {});
      this.#session = session;
    }
    return session;
  }

  #ask(sent: number, done: () => void): void {
    const session = this.#open();
    let status = 0;
    let node: string | undefined;
    let failure = "";
    let unsent = false;
    const stream = session.request({ ":path": path, ":authority": "shared" });
    stream.setTimeout(PATIENCE_MS + Number(wait), () => session.destroy(new Error("timeout")));
    stream.on("response", (fields) => {
      status = Number(fields[":status"]);
      node = fields["x-node"]?.toString();
    });
    stream.on("frameError", (type) => {
      unsent ||= type === HEADERS;
    });
    stream.on("error", (error) => {
      failure = error.message;
    });
    stream.on("close", () => {
      if (unsent) {
        this.#ask(sent, done);
        return;
      }
      tell(
        sent,
        failure === "" && status === 200 && node !== undefined ? { node } : { failure: failure || `status ${status}` },
      );
      done();
    });
    stream.resume();
  }
}

function newAsker(): Asker {
  return protocol === "http2" ? new Http2Asker() : new Http1Asker();
}

const idle: Asker[] = Array.from({ length: KEPT }, newAsker);
let asking = 0;
const timer = setInterval(() => {
  const asker = KEPT === 0 ? newAsker() : idle.shift();
  if (asker === undefined) return;
  asking++;
  asker.ask(() => {
    asking--;
    if (KEPT > 0) idle.push(asker);
  });
}, 1000 / Number(rate));
process.stdin
  .on("end", () => {
    clearInterval(timer);
    setInterval(() => asking === 0 && process.exit(), 20);
  })
  .resume();
