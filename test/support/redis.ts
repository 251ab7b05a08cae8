import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
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
  /** All of what INFO says of a section, or another command. */
  info(section: string, ...command: string[]): Promise<string>;
  /** Of a cluster's node: where the others reach it. */
  readonly busPort?: number;
}

export interface RedisOptions {
  /** What follows on its command line: `--requirepass secret`. */
  readonly args?: readonly string[];
  /** Where it does not answer without TLS on `port`. */
  readonly listens?: (port: number) => readonly string[];
  readonly password?: string;
  /** In place of what it is to keep: its configuration file. */
  readonly config?: readonly string[];
}

export async function startRedis(
  t: TestContext,
  { args = [], listens, password, config }: RedisOptions = {},
): Promise<Redis> {
  const port = await freePort();
  const directory = mkdtempSync(join(tmpdir(), "holdfast-redis-"));
  const listening = listens?.(port) ?? ["--port", String(port)];
  // Written before it is confirmed, also while the disk is slow: else what was confirmed may be lost when it is killed.
  const kept = config === undefined ? ["--appendonly", "yes", "--appendfsync", "no", "--save", ""] : [];
  let child: ChildProcess | undefined;
  let exited: Promise<unknown> = Promise.resolve();
  const say = (...words: string[]): Promise<string> => command(port, words, password);
  const start = async (): Promise<void> => {
    const where = [...listening, "--bind", "127.0.0.1", "--dir", directory];
    child = spawn("redis-server", [...(config ?? []), ...where, ...kept, ...args], { stdio: "ignore" });
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
  return {
    port,
    address: `127.0.0.1:${port}`,
    signal: (signal) => child?.kill(signal),
    kill,
    start,
    say,
    info: (section, ...words) => wholeAnswer(port, words.length > 0 ? words : ["INFO", section]),
  };
}

/** A master, a replica of it, and three sentinels that watch it as `mymaster`. */
export async function startSentinels(
  t: TestContext,
): Promise<{ readonly master: Redis; readonly addresses: readonly string[] }> {
  const master = await startRedis(t);
  const replica = await startRedis(t, { args: ["--replicaof", "127.0.0.1", String(master.port)] });
  await waitFor(
    async () => (await replica.info("replication")).includes("master_link_status:up"),
    "the replica follows",
  );
  const directory = mkdtempSync(join(tmpdir(), "holdfast-sentinel-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const sentinels: Redis[] = [];
  for (let number = 0; number < 3; number++) {
    const file = join(directory, `${number}.conf`);
    const watch = `sentinel monitor mymaster 127.0.0.1 ${master.port} 2`;
    const times = "sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 5000";
    writeFileSync(file, `${watch}\n${times}\n`);
    sentinels.push(await startRedis(t, { config: [file, "--sentinel"] }));
  }
  for (const one of sentinels) {
    await waitFor(async () => {
      const info = await one.info("sentinel");
      return info.includes("slaves=1") && info.includes("sentinels=3");
    }, "the sentinels know one another");
  }
  return { master, addresses: sentinels.map(({ address }) => address) };
}

const SLOTS = 16384;

/** Three masters that have a third of all keys each. */
export async function startCluster(t: TestContext): Promise<readonly Redis[]> {
  const nodes: Redis[] = [];
  for (let number = 0; number < 3; number++) {
    // Beside its port a node uses another one for the cluster's bus.
    const busPort = await freePort();
    const args = ["--cluster-enabled", "yes", "--cluster-port", String(busPort), "--cluster-node-timeout", "5000"];
    const node = await startRedis(t, { args });
    const bound = (part: number): string => String(Math.floor((SLOTS * part) / 3));
    await node.say("CLUSTER", "ADDSLOTSRANGE", bound(number), String(Number(bound(number + 1)) - 1));
    if (number > 0) await node.say("CLUSTER", "MEET", "127.0.0.1", String(nodes[0].port), String(nodes[0].busPort));
    nodes.push({ ...node, busPort });
  }
  for (const node of nodes) {
    await waitFor(async () => {
      const info = await node.info("", "CLUSTER", "INFO");
      return info.includes("cluster_state:ok") && info.includes("cluster_known_nodes:3");
    }, "the cluster is complete");
  }
  return nodes;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** A bulk string. */
async function wholeAnswer(port: number, words: readonly string[]): Promise<string> {
  const socket = createConnection(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    let answer = "";
    socket.on("data", (bytes: Buffer) => {
      answer += bytes.toString("latin1");
    });
    socket.write(`${words.join(" ")}\r\n`);
    await waitFor(() => answer.length > Number(/^\$(\d+)\r\n/.exec(answer)?.[1] ?? Number.POSITIVE_INFINITY), "INFO");
    return answer;
  } finally {
    socket.destroy();
  }
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
