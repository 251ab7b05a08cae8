import { type ChildProcess, fork } from "node:child_process";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { freePort } from "./ports.ts";
import { get } from "./tcp.ts";

const MAIN = fileURLToPath(new URL("child_backend_main.ts", import.meta.url));

/** A backend that can be killed, stopped and started again. */
export class ChildBackend {
  readonly port: number;
  readonly name: string;
  #child: ChildProcess | undefined;

  constructor(port: number, name: string) {
    this.port = port;
    this.name = name;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const child = fork(MAIN, [`${this.port}`, this.name], {
      execPath: process.execPath,
      execArgv: ["--disable-warning=ExperimentalWarning"],
      env: {},
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#child = child;
    await new Promise<void>((resolve, reject) => {
      child.once("message", () => resolve());
      child.once("exit", (code) => reject(new Error(`the backend ${this.name} ended with ${code}`)));
    });
  }

  /** SIGKILL, and waits for the end. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  }

  stop(): void {
    this.#child?.kill("SIGSTOP");
  }

  goOn(): void {
    this.#child?.kill("SIGCONT");
  }

  /** How many requests it has served since its start, checks (with an X-Check field) aside. */
  async served(): Promise<number> {
    return Number((await get(this.port, "/served")).body);
  }
}

/** Starts so many backends named a, b, c …; they are killed at the end of the test. */
export async function childBackends(t: TestContext, count: number): Promise<ChildBackend[]> {
  const backends: ChildBackend[] = [];
  for (let i = 0; i < count; i++) {
    const backend = new ChildBackend(await freePort(), String.fromCharCode(97 + i));
    t.after(() => backend.kill());
    backends.push(backend);
  }
  await Promise.all(backends.map((backend) => backend.start()));
  return backends;
}
