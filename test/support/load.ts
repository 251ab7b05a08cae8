import type { TestContext } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { RawConnection, type RawResponse, type Target } from "./tcp.ts";
import { waitFor } from "./wait.ts";

export interface LoadOptions {
  /** Where each connection goes; asked anew for each. */
  readonly target: Target | (() => Target);
  readonly tls?: boolean;
  /** The path of the request of that number. Default: `/`. */
  readonly path?: (number: number) => string;
  /** Requests per second over all connections. */
  readonly rate?: number;
  readonly connections?: number;
  /** So many of the connections are opened anew for each request. */
  readonly fresh?: number;
  /**
   * Asks once more, on a new connection, where one that has been used was closed (not reset) before an answer began, as
   * clients do: the server may close an idle connection at any time (RFC 9112, 9.3.1).
   */
  readonly retry?: boolean;
  /** What is wrong with an answer; undefined for nothing. Default: any status but 200. */
  readonly judge?: (response: RawResponse, path: string) => string | undefined;
}

/** Constant load: each connection sends its next request when the last is answered and its turn has come. */
export class Load {
  answered = 0;
  /** How many requests were sent once more. */
  retried = 0;
  readonly failures: string[] = [];
  /** How many answers had which body. */
  readonly bodies = new Map<string, number>();
  /** Answers by path. */
  readonly paths = new Map<string, Map<string, number>>();
  #sent = 0;
  #stopped = false;
  readonly #options: LoadOptions;
  readonly #running: Promise<unknown>;

  constructor(options: LoadOptions) {
    this.#options = options;
    const { connections = 20, fresh = 0 } = options;
    this.#running = Promise.all(Array.from({ length: connections }, (_, i) => this.#run(i, i < fresh)));
  }

  async #run(index: number, fresh: boolean): Promise<void> {
    const { rate = 300, connections = 20, path = () => "/", retry = false } = this.#options;
    const gap = (1000 * connections) / rate;
    let due = performance.now() + (gap * index) / connections;
    let connection: RawConnection | undefined;
    while (!this.#stopped) {
      const wait = due - performance.now();
      if (wait > 1) await pause(wait);
      // A machine that was too busy is not made up for by a burst.
      due = Math.max(due + gap, performance.now() - gap);
      if (retry) {
        // What has come meanwhile is seen before the next request is sent, however long this process had to wait.
        await new Promise(setImmediate);
        if (connection?.ended === true) {
          connection.close();
          connection = undefined;
        }
      }
      const wanted = path(this.#sent++);
      connection = await this.#ask(connection, wanted, fresh);
    }
    connection?.close();
  }

  /** Resolves to the connection if it can be used again. */
  async #ask(reused: RawConnection | undefined, wanted: string, fresh: boolean): Promise<RawConnection | undefined> {
    const { target, tls = false, retry = false } = this.#options;
    let connection = reused;
    try {
      const where = typeof target === "function" ? target() : target;
      connection ??= await (tls ? RawConnection.openTls(where) : RawConnection.open(where));
      connection.write(
        `GET ${wanted} HTTP/1.1\r\nHost: load\r\n${fresh ? "Connection: close\r\n" : ""}X-Number: ${this.#sent}\r\n\r\n`,
      );
      const response = await connection.readResponse();
      this.#count(response, wanted);
      if (!fresh && response.header("connection") !== "close") return connection;
    } catch (error) {
      if (retry && reused?.ended === true && reused.error === undefined && reused.received === "") {
        reused.close();
        this.retried++;
        return this.#ask(undefined, wanted, fresh);
      }
      const kind = fresh ? "new" : reused === undefined ? "first use of a" : "reused";
      this.failures.push(`${wanted} (${kind} connection, ${connection?.error ?? "no error"}): ${error}`);
    }
    connection?.close();
    return undefined;
  }

  #count(response: RawResponse, path: string): void {
    const { judge = (answer) => (answer.status === 200 ? undefined : answer.statusLine) } = this.#options;
    const wrong = judge(response, path);
    if (wrong !== undefined) this.failures.push(`${path}: ${wrong}`);
    this.answered++;
    this.bodies.set(response.body, (this.bodies.get(response.body) ?? 0) + 1);
    let answers = this.paths.get(path);
    if (answers === undefined) {
      answers = new Map();
      this.paths.set(path, answers);
    }
    answers.set(response.body, (answers.get(response.body) ?? 0) + 1);
  }

  /** Resolves when so many more answers have come. */
  async more(count: number): Promise<void> {
    const until = this.answered + count;
    await waitFor(() => this.answered >= until, `${count} more answers; failures: ${this.failures.slice(0, 5)}`);
  }

  /** Forgets which answers came. */
  forget(): void {
    this.bodies.clear();
    this.paths.clear();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }
}

export function startLoad(t: TestContext, options: LoadOptions): Load {
  const load = new Load(options);
  t.after(() => load.stop());
  return load;
}
