/**
 * 10,000 servers checked every second: what part of a core it takes, and how late checks start. The checks run in a
 * thread of their own, as in the checker; the servers are one process behind 10,000 loopback addresses.
 *
 *     node bench/checks.ts [--kind keepalive|http|tcp] [--servers 10000] [--seconds 6] [--busy]
 *
 * With --busy two threads spin meanwhile, as saturated workers would. The last line printed is the result as JSON.
 */
import { type ChildProcess, fork } from "node:child_process";
import net from "node:net";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import type { CheckDefinition } from "../src/health/definition.ts";
import { bindPlan, type CheckPlan, type PlannedCheck, recordsOf } from "../src/health/plan.ts";
import { DEFAULT_ALIVE, statusIn } from "../src/health/response.ts";
import { startChecks } from "../src/health/scheduler.ts";
import { HEALTH_ZONE, HealthStates, healthBytes } from "../src/health/state.ts";
import { addressText } from "../src/net/address.ts";
import { startEngine } from "../src/net/engines.ts";
import type { ErrorLog } from "../src/runtime/log/log.ts";
import { makeZone } from "../src/shm/zone.ts";

interface Job {
  readonly kind: string;
  readonly servers: number;
  readonly seconds: number;
  readonly port: number;
}

export interface ChecksResult {
  /** Part of one core the checking thread took. */
  readonly cores: number;
  readonly checksPerSecond: number;
  /** How late checks started, ms. */
  readonly lateP50: number;
  readonly lateP99: number;
  readonly lateMax: number;
  readonly up: number;
  /** ms from the start until every server had a verdict; -1: never. */
  readonly coldStart: number;
}

const INTERVAL = 1000;
const ANSWER = Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

/** The backends: a connection is answered whatever it asks. */
function serve(): void {
  const server = net.createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    socket.on("data", () => socket.write(ANSWER));
  });
  server.listen({ host: "0.0.0.0", port: 0, backlog: 4096 }, () => {
    const bound = server.address();
    process.send?.(typeof bound === "object" && bound !== null ? bound.port : 0);
  });
  process.on("disconnect", () => process.exit());
}

function planOf({ kind, servers, port }: Job): CheckPlan {
  const http = kind !== "tcp";
  const definition: CheckDefinition = {
    type: http ? "http" : "tcp",
    label: kind,
    interval: INTERVAL,
    jitter: 0,
    timeout: INTERVAL,
    fall: 3,
    rise: 2,
    defaultDown: true,
    port: 0,
    unique: false,
    keep: { requests: kind === "keepalive" ? 1_000_000 : 1, time: 0 },
    tls: undefined,
    send: http ? "GET / HTTP/1.1\r\nHost: bench\r\n\r\n" : "",
    expect: { status: statusIn(DEFAULT_ALIVE), headers: [], body: [] },
    receive: undefined,
    params: [],
    identity: kind,
  };
  const checks: PlannedCheck[] = [];
  for (let i = 0; i < servers; i++) {
    const target = { family: "ipv4", host: `127.${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`, port } as const;
    const name = addressText(target);
    checks.push({ key: `check ${name}`, upstream: "bench", name, target, server: name, definition });
  }
  const planned = checks.map(({ name }, number) => ({ key: `server ${name}`, name, checks: [number] }));
  return { checks, upstreams: [{ name: "bench", panic: 0, servers: planned, records: 2 * servers }] };
}

/** The checking process. */
function check(job: Job): void {
  const plan = planOf(job);
  const states = new HealthStates(makeZone(HEALTH_ZONE, "checks", healthBytes(recordsOf(plan))));
  const bound = bindPlan(plan, states, 1, Date.now());
  const late: number[] = [];
  let measuring = false;
  const log: ErrorLog = { wants: () => false, write() {} };
  const begun = performance.now();
  let coldStart = -1;
  const checks = startChecks(bound, {
    log,
    onStart(ms) {
      if (measuring) late.push(ms);
    },
  });
  const watch = setInterval(() => {
    if (coldStart < 0 && bound.records.every((record) => states.verdict(record))) coldStart = performance.now() - begun;
  }, 50);
  setTimeout(() => {
    measuring = true;
    const cpu = process.cpuUsage();
    const from = performance.now();
    setTimeout(() => {
      const used = process.cpuUsage(cpu);
      const elapsed = performance.now() - from;
      clearInterval(watch);
      checks.stop();
      late.sort((a, b) => a - b);
      const at = (part: number) => Number((late[Math.floor((late.length - 1) * part)] ?? -1).toFixed(1));
      const result: ChecksResult = {
        cores: Number(((used.user + used.system) / 1000 / elapsed).toFixed(3)),
        checksPerSecond: Math.round((late.length / elapsed) * 1000),
        lateP50: at(0.5),
        lateP99: at(0.99),
        lateMax: at(1),
        up: bound.records.filter((record) => states.up(record)).length,
        coldStart: Math.round(coldStart),
      };
      process.send?.(result);
    }, job.seconds * 1000);
  }, 3000);
}

/** Measures; bounded by the seconds asked for plus a few for the start. */
export async function measureChecks(options: Omit<Job, "port"> & { readonly busy: boolean }): Promise<ChecksResult> {
  const file = fileURLToPath(import.meta.url);
  const backend: ChildProcess = fork(file, ["serve"]);
  const spinners: Worker[] = [];
  try {
    const port = await new Promise<number>((resolve) => backend.once("message", (message) => resolve(Number(message))));
    if (options.busy) for (let i = 0; i < 2; i++) spinners.push(new Worker("for (;;);", { eval: true }));
    const checker = fork(file, ["check", JSON.stringify({ ...options, port })]);
    return await new Promise<ChecksResult>((resolve, reject) => {
      checker.once("message", (message) => resolve(message as ChecksResult));
      checker.once("exit", (code, signal) => reject(new Error(`the checking process exited (${signal ?? code})`)));
    }).finally(() => checker.kill());
  } finally {
    for (const spinner of spinners) await spinner.terminate();
    backend.disconnect();
  }
}

if (process.argv[2] === "check") {
  await startEngine();
  check(JSON.parse(process.argv[3]));
} else if (process.argv[2] === "serve") serve();
else if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = { type: "string" } as const;
  const { values } = parseArgs({ options: { kind: text, servers: text, seconds: text, busy: { type: "boolean" } } });
  const { kind = "keepalive", servers = "10000", seconds = "6", busy = false } = values;
  const options = { kind, servers: Number(servers), seconds: Math.min(Number(seconds), 10), busy };
  console.log(JSON.stringify({ kind, servers: options.servers, busy, ...(await measureChecks(options)) }));
}
