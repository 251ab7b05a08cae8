import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { PATIENCE_MS } from "./wait.ts";

/** A real Chromium without a window, told what to do over its DevTools protocol. */
export interface Browser {
  /** Opens a page, and waits until it has loaded. */
  open(url: string): Promise<void>;
  /** The value of an expression in the page, or of what it promises. */
  evaluate(expression: string): Promise<unknown>;
  /** Clicks what a selector names, and waits until the page that follows has loaded. */
  click(selector: string): Promise<void>;
  /** A picture of the page at that width (PNG). */
  picture(width: number): Promise<Buffer>;
}

interface Reply {
  readonly id?: number;
  readonly method?: string;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
}

/** Its commands' answers and events. */
class DevTools {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  readonly #events = new Map<string, () => void>();
  #last = 0;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      const reply: Reply = JSON.parse(String(data));
      if (reply.id !== undefined) this.#waiting.get(reply.id)?.(reply);
      else if (reply.method !== undefined) this.#events.get(reply.method)?.();
    });
  }

  async send(method: string, params: object = {}): Promise<Record<string, unknown>> {
    const id = ++this.#last;
    const { promise, resolve } = Promise.withResolvers<Reply>();
    this.#waiting.set(id, resolve);
    this.#socket.send(JSON.stringify({ id, method, params }));
    const { result = {}, error } = await inTime(promise, method);
    this.#waiting.delete(id);
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  /** Resolves with the next such event. */
  event(method: string): Promise<void> {
    return inTime(new Promise((resolve) => this.#events.set(method, resolve)), method);
  }

  close(): void {
    this.#socket.close();
  }
}

async function inTime<T>(work: Promise<T>, what: string): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`Chromium: no ${what} within ${PATIENCE_MS} ms`)), PATIENCE_MS);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

export async function startBrowser(t: TestContext): Promise<Browser> {
  const profile = mkdtempSync(join(tmpdir(), "holdfast-chromium-"));
  // Not as root's sandbox: the pages are the test's own.
  const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"];
  // The certificates are the test's own as well.
  flags.push("--ignore-certificate-errors");
  const child = spawn(
    "chromium",
    [...flags, "--remote-debugging-port=0", `--user-data-dir=${profile}`, "about:blank"],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
  });
  const port = await inTime(debuggingPort(child.stderr), "debugging port");
  const socket = new WebSocket(pageIn(await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()));
  await inTime(once(socket, "open"), "connection");
  const tools = new DevTools(socket);
  t.after(() => tools.close());
  await tools.send("Page.enable");
  const evaluate = async (expression: string): Promise<unknown> => {
    const { result } = await tools.send("Runtime.evaluate", {
      expression,
      returnByValue: true,
      awaitPromise: true,
    });
    return typeof result === "object" && result !== null ? Reflect.get(result, "value") : undefined;
  };
  return {
    async open(url) {
      const loaded = tools.event("Page.loadEventFired");
      await tools.send("Page.navigate", { url });
      await loaded;
    },
    evaluate,
    async click(selector) {
      const loaded = tools.event("Page.loadEventFired");
      await evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`);
      await loaded;
    },
    async picture(width) {
      await tools.send("Emulation.setDeviceMetricsOverride", {
        width,
        height: 900,
        deviceScaleFactor: 1,
        mobile: false,
      });
      const { data } = await tools.send("Page.captureScreenshot", { captureBeyondViewport: true });
      return Buffer.from(String(data), "base64");
    },
  };
}

/** The address of the first page in the list that Chromium gives of what it has open. */
function pageIn(list: unknown): string {
  for (const one of Array.isArray(list) ? list : []) {
    if (one?.type === "page" && typeof one.webSocketDebuggerUrl === "string") return one.webSocketDebuggerUrl;
  }
  throw new Error("Chromium has no page");
}

/** Its standard error is read to the end, so that it never waits for somebody to. */
function debuggingPort(stderr: NodeJS.ReadableStream): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let text = "";
  stderr.on("data", (piece: unknown) => {
    text += String(piece);
    const port = /DevTools listening on ws:\/\/127\.0\.0\.1:(\d+)\//.exec(text)?.[1];
    if (port !== undefined) resolve(port);
  });
  stderr.on("end", () => reject(new Error(`Chromium did not start: ${text}`)));
  return promise;
}
