import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from "node:http2";
import type { TestContext } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { HEADERS } from "../../src/wire/h2/frames.ts";
import { waitFor } from "./wait.ts";

/** One kind of request: asks on a session that is open, and returns what is wrong with the answer; "" for nothing. */
export type H2Kind = (open: (fields: OutgoingHttpHeaders) => ClientHttp2Stream) => Promise<string>;

export interface H2LoadOptions {
  /** Where each session goes; `http:` for one in clear. */
  readonly urls: readonly string[];
  /** How many clients, each with a session of its own, go to each. */
  readonly clients: number;
  /** Each client asks for all of these all the time, one request of each at a time. */
  readonly kinds: Readonly<Record<string, H2Kind>>;
}

/**
 * Clients of HTTP/2, Node's own, that do what GOAWAY says: they end what they have begun, and open a connection for what follows. They
 * repeat nothing that they have sent.
 */
export class H2Load {
  /** Answers by kind. */
  readonly answered: Record<string, number> = {};
  readonly failures: string[] = [];
  /** Sessions that were opened, and those of them that were told to go. */
  sessions = 0;
  told = 0;
  /** Requests that Node took and did not send, since GOAWAY came in the same turn of its event loop: another session gets them. */
  unsent = 0;
  #stopped = false;
  readonly #running: Promise<unknown>;

  constructor({ urls, clients, kinds }: H2LoadOptions) {
    const all = urls.flatMap((url) => Array.from({ length: clients }, () => new Client(this, url)));
    const run = async (client: Client, name: string, kind: H2Kind): Promise<void> => {
      while (!this.#stopped) {
        await client.ask(name, kind);
        // In another phase of the event loop each time.
        if (Math.random() < 0.5) await pause(5 * Math.random());
      }
    };
    for (const name of Object.keys(kinds)) this.answered[name] = 0;
    this.#running = Promise.all(
      all.map(async (client) => {
        await Promise.all(Object.entries(kinds).map(([name, kind]) => run(client, name, kind)));
        client.close();
      }),
    );
  }

  /** Resolves when so many more answers of each kind have come. */
  async more(count: number): Promise<void> {
    const before = { ...this.answered };
    await waitFor(
      () => Object.entries(this.answered).every(([name, answers]) => answers >= before[name] + count),
      () => `more answers than ${JSON.stringify(this.answered)}; failures: ${this.failures.slice(0, 5).join("\n")}`,
    );
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }
}

/** Has one session at a time that takes requests. */
class Client {
  readonly #load: H2Load;
  readonly #url: string;
  #session: ClientHttp2Session | undefined;

  constructor(load: H2Load, url: string) {
    this.#load = load;
    this.#url = url;
  }

  #current(): ClientHttp2Session {
    const session = this.#session;
    if (session !== undefined && !session.closed && !session.destroyed) return session;
    const next = connect(this.#url, { rejectUnauthorized: false });
    this.#session = next;
    const load = this.#load;
    load.sessions++;
    next.on("goaway", (code, last) => {
      load.told++;
      if (code !== 0) load.failures.push(`GOAWAY with ${code}, last ${last}`);
    });
    // Streams have the errors of their session.
    next.on("error", () => {});
    return next;
  }

  async ask(name: string, kind: H2Kind): Promise<void> {
    const load = this.#load;
    let unsent = false;
    let stream: ClientHttp2Stream | undefined;
    const wrong = await kind((fields) => {
      stream = this.#current().request(fields, { endStream: false });
      // What nghttp2 says of a HEADERS frame that it has not sent.
      stream.on("frameError", (type) => {
        unsent ||= type === HEADERS;
      });
      return stream;
    }).catch((error: unknown) => `${error}`);
    if (wrong === "") {
      load.answered[name]++;
    } else if (unsent) {
      load.unsent++;
    } else {
      const { sessions, told } = load;
      load.failures.push(`${this.#url} ${name}, stream ${stream?.id}: ${wrong} (${sessions} sessions, ${told} told)`);
    }
  }

  close(): void {
    this.#session?.close();
  }
}

export function startH2Load(t: TestContext, options: H2LoadOptions): H2Load {
  const load = new H2Load(options);
  t.after(() => load.stop());
  return load;
}
