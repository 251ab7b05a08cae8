import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { have } from "./have.ts";
import { freePort } from "./ports.ts";
import { waitFor } from "./wait.ts";

/** Why a test that needs it skips. */
export const noRedis: string | false = have("redis-server");

/** A real redis-server on a free port, which keeps what it has confirmed when it is killed. */
export interface Redis {
  readonly port: number;
  /** `127.0.0.1:port` */
  readonly address: string;
  signal(signal: NodeJS.Signals): void;
  /** Kills it, and waits until it is gone. */
  kill(): Promise<void>;
  /** Starts it again, with what it had. */
  start(): Promise<void>;
  /** A command, and the first line of what it answers. */
  say(...words: string[]): Promise<string>;
}

export interface RedisOptions {
  /** What follows on its command line: `--requirepass secret`. */
  readonly args?: readonly string[];
  /** Where it does not answer without TLS on `port`. */
  readonly listens?: (port: number) => readonly string[];
  readonly port?: number;
  readonly password?: string;
}

export async function startRedis(
  t: TestContext,
  { args = [], listens, password, ...rest }: RedisOptions = {},
): Promise<Redis> {
  const port = rest.port ?? (await freePort());
  const directory = mkdtempSync(join(tmpdir(), "holdfast-redis-"));
  const listening = listens?.(port) ?? ["--port", String(port)];
  const kept = ["--dir", directory, "--appendonly", "yes", "--save", ""];
  let child: ChildProcess | undefined;
  let exited: Promise<unknown> = Promise.resolve();
  const say = (...words: string[]): Promise<string> => command(port, words, password);
  const start = async (): Promise<void> => {
    child = spawn("redis-server", [...listening, "--bind", "127.0.0.1", ...kept, ...args], { stdio: "ignore" });
    exited = once(child, "exit");
    await waitFor(
      async () =>
        listens !== undefined ? accepts(port) : /^(\+PONG|-NOAUTH|-NOPERM)/.test(await say("PING").catch(() => "")),
      "redis-server answers",
    );
  };
  const kill = async (): Promise<void> => {
    child?.kill("SIGKILL");
    await exited;
  };
  t.after(async () => {
    await kill();
    rmSync(directory, { recursive: true, force: true });
  });
  await start();
  return { port, address: `127.0.0.1:${port}`, signal: (signal) => child?.kill(signal), kill, start, say };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

async function command(port: number, words: readonly string[], password: string | undefined): Promise<string> {
  const socket = createConnection(port, "127.0.0.1");
  const coded = (all: readonly string[]): string =>
    `*${all.length}\r\n${all.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`;
  try {
    await once(socket, "connect");
    let answer = "";
    socket.on("data", (bytes: Buffer) => {
      answer += bytes.toString("latin1");
    });
    const lines = password === undefined ? 1 : 2;
    socket.write((password === undefined ? "" : coded(["AUTH", password])) + coded(words));
    await waitFor(() => answer.split("\r\n").length > lines, "redis-server answers");
    return answer.split("\r\n")[lines - 1];
  } finally {
    socket.destroy();
  }
}
