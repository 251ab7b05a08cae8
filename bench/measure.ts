/** One measurement: a server is loaded, and read what it used. */
import type { ChildProcess } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync } from "node:fs";
import { get } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { get as getOverTls } from "node:https";
import { createServer } from "node:net";
import { join } from "node:path";
import type { Certificate, CertificateKind } from "./certificates.ts";
import { generate, holdConnections } from "./load.ts";
import { coreUse, endedChildrenMs, hasEnded, startPinned, stop, usageOf } from "./process.ts";
import type { IdleScenario, LoadScenario, StartScenario } from "./scenarios.ts";
import type { Server } from "./servers.ts";

export interface Bench {
  /** A folder of this run's own; removed at the end. */
  dir: string;
  files: string;
  backendPort: number;
  /** Undefined where no scenario needs the FastCGI application. */
  fastcgiPort: number | undefined;
  /** Undefined where no scenario needs the server of gRPC. */
  grpcPort: number | undefined;
  certificates: ReadonlyMap<CertificateKind, Certificate>;
  descriptors: number;
  serverCore: number;
  loadCores: string;
  seconds: number;
  /** A server is loaded for so many seconds, and with so many requests, before it is measured. */
  warmup: number;
  warmupRequests: number;
  /** How often a disturbed measurement is made at most. */
  attempts: number;
}

export interface Sample {
  /** In the scenario's unit: the figure that is compared. */
  figure: number;
  /** The parts of a figure that is CPU time. */
  user: number | undefined;
  system: number | undefined;
  /**
   * The CPU time of the load generator, in the same unit. Over loopback one of the two does the work of TCP: bytes that the socket
   * could not send at once are sent by whoever makes room, which is the receiver.
   */
  load: number | undefined;
  requestsPerSecond: number | undefined;
  p99Ms: number | undefined;
  memoryMiB: number;
  /** Share of its core the server used: near 1 when it was the bottleneck. */
  ownShare: number | undefined;
  /** Share of that core that others used, interrupts and the hypervisor included: the disturbance. */
  foreignShare: number | undefined;
  requests: number;
  errors: number;
}

/** How much longer a server is warmed up whose requests take long, s. */
const MOST_MORE = 20;
const GiB = 1024 ** 3;
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

interface Answer {
  status: number;
  /** Length of the body. */
  bytes: number;
  /** From the trailers of a call. */
  grpcStatus?: string;
}

/** One request on a connection of its own; undefined when nobody answers. */
function probe(url: string): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    const options = { agent: false, timeout: 5000, rejectUnauthorized: false };
    const request = (url.startsWith("https:") ? getOverTls : get)(url, options, (response) => {
      let bytes = 0;
      response.on("data", (piece: Buffer) => {
        bytes += piece.length;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, bytes }));
      response.on("error", () => resolve(undefined));
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(undefined));
  });
}

function probeHttp2(url: string, message: Buffer | undefined): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    const session = connectHttp2(url, { rejectUnauthorized: false });
    const over = (answer?: Answer) => {
      resolve(answer);
      session.destroy();
    };
    session.on("error", () => over());
    session.setTimeout(5000, () => over());
    const path = new URL(url).pathname;
    const call = { ":method": "POST", "content-type": "application/grpc", te: "trailers" };
    const stream = session.request({ ":path": path, ...(message === undefined ? {} : call) });
    stream.end(message);
    let status = 0;
    let grpcStatus: string | undefined;
    let bytes = 0;
    stream.on("response", (fields) => {
      status = Number(fields[":status"]);
    });
    stream.on("data", (piece: Buffer) => {
      bytes += piece.length;
    });
    stream.on("trailers", (fields) => {
      grpcStatus = String(fields["grpc-status"]);
    });
    stream.on("end", () => over({ status, bytes, grpcStatus }));
    stream.on("error", () => over());
  });
}

/** How long a start may take: that of the large configuration, on a core that others use too. */
const START_MS = 60_000;

/** Waits until the address answers as it must, so that nothing is compared that does not do the work. */
export async function untilServing(
  child: ChildProcess,
  url: string,
  bytes: number,
  output: string,
  http2 = false,
  message?: Buffer,
): Promise<void> {
  const until = performance.now() + START_MS;
  for (;;) {
    const answer = await (http2 ? probeHttp2(url, message) : probe(url));
    const right = answer?.status === 200 && answer.bytes === bytes;
    if (right && (message === undefined || answer.grpcStatus === "0")) return;
    const said = () => readFileSync(output, "latin1").trim().split("\n").slice(-3).join("\n");
    if (hasEnded(child)) throw new Error(`ended at its start: ${said()}`);
    if (performance.now() > until) {
      const what = answer === undefined ? "did not answer" : `answered ${answer.status} with ${answer.bytes} bytes`;
      const trailer = message === undefined ? "" : " and the trailer grpc-status 0";
      throw new Error(`${what}, expected 200 with ${bytes} bytes${trailer}: ${said()}`);
    }
    await pause(20);
  }
}

/** A measurement during which others used more of the server's core than this is repeated. */
export const disturbance = 0.1;
export const mostAttempts = 3;

/** A server that runs alone on its core, or beside others that have nothing to do. */
export interface Serving {
  readonly child: ChildProcess;
  readonly url: string;
  /** A folder of its own. */
  readonly dir: string;
  /** From its start to its first answer. */
  readonly startMs: number;
}

/** Starts a server. Throws an Error with a sentence when it does not start or answers wrongly. */
export async function serve(
  bench: Bench,
  server: Server,
  scenario: LoadScenario | IdleScenario | StartScenario,
): Promise<Serving> {
  const { path, bytes, tls, streams, needs } = scenario;
  const dir = mkdtempSync(join(bench.dir, "server-"));
  // Workers of a server started by root run as another user.
  chmodSync(dir, 0o755);
  const port = await freePort();
  const { files, backendPort, fastcgiPort, grpcPort, descriptors } = bench;
  const certificate = tls === undefined ? undefined : bench.certificates.get(tls);
  const output = join(dir, "output");
  const large = needs === "large";
  const cache = needs === "cache";
  const http2 = streams !== undefined;
  const site = { dir, port, certificate, http2, files, backendPort, fastcgiPort, grpcPort, descriptors, large, cache };
  const command = server.prepare(site);
  const startedAt = performance.now();
  const child = startPinned(`${bench.serverCore}`, command, output);
  const url = `${certificate === undefined ? "http" : "https"}://127.0.0.1:${port}${path}`;
  try {
    const message = scenario.kind === "load" ? scenario.message : undefined;
    await untilServing(child, url, bytes, output, http2, message);
  } catch (error) {
    await stop(child);
    throw error;
  }
  return { child, url, dir, startMs: performance.now() - startedAt };
}

/** Loads it as it will be measured, until what runs often is compiled. */
export async function warmUp(bench: Bench, { url }: Serving, scenario: LoadScenario): Promise<void> {
  const { connections, fields, handshakes, streams, message } = scenario;
  const { loadCores: cores, warmup, warmupRequests } = bench;
  const load = { cores, url, connections, fields, handshakes, streams, message };
  const { requests } = await generate({ ...load, seconds: warmup });
  if (handshakes !== undefined || requests >= warmupRequests) return;
  const left = requests === 0 ? MOST_MORE : ((warmupRequests - requests) / requests) * warmup;
  await generate({ ...load, seconds: Math.ceil(Math.min(left, MOST_MORE)) });
}

/**
 * Measures once, and again while others took part of the server's core; the least disturbed attempt counts, whatever
 * its figure. Throws an Error with a sentence when the server fails under load.
 */
export async function measureLoad(bench: Bench, serving: Serving, scenario: LoadScenario): Promise<Sample> {
  let best = await underLoad(bench, serving, scenario);
  for (let attempt = 2; attempt <= bench.attempts && (best.foreignShare ?? 0) > disturbance; attempt++) {
    const sample = await underLoad(bench, serving, scenario);
    if ((sample.foreignShare ?? 0) < (best.foreignShare ?? 0)) best = sample;
  }
  return best;
}

export async function measureIdle(bench: Bench, server: Server, scenario: IdleScenario): Promise<Sample> {
  const serving = await serve(bench, server, scenario);
  try {
    return await holdingIdle(bench, serving, scenario);
  } finally {
    await stop(serving.child);
  }
}

/** A figure that is neither time of the CPU nor made of requests. */
function plainSample(figure: number, memoryKiB: number, requests: number): Sample {
  return {
    figure,
    user: undefined,
    system: undefined,
    load: undefined,
    requestsPerSecond: undefined,
    p99Ms: undefined,
    memoryMiB: memoryKiB / 1024,
    ownShare: undefined,
    foreignShare: undefined,
    requests,
    errors: 0,
  };
}

export async function measureStart(bench: Bench, server: Server, scenario: StartScenario): Promise<Sample> {
  const { child, startMs } = await serve(bench, server, scenario);
  try {
    return plainSample(startMs, usageOf(child.pid ?? 0).memoryKiB, 1);
  } finally {
    await stop(child);
  }
}

async function underLoad(bench: Bench, { child, url }: Serving, scenario: LoadScenario): Promise<Sample> {
  const { connections, fields, handshakes, streams, message } = scenario;
  const pid = child.pid ?? 0;
  const coreBefore = coreUse(bench.serverCore);
  const before = usageOf(pid);
  const loadBefore = endedChildrenMs();
  const began = performance.now();
  const counted = await generate({
    cores: bench.loadCores,
    url,
    connections,
    fields,
    handshakes,
    streams,
    message,
    seconds: bench.seconds,
  });
  const elapsedMs = performance.now() - began;
  const after = usageOf(pid);
  const coreAfter = coreUse(bench.serverCore);
  const loadMs = endedChildrenMs() - loadBefore;
  if (hasEnded(child)) throw new Error("ended under load");
  if (counted.requests === 0) throw new Error("no request was answered whole; measure for longer (--seconds)");
  if (counted.errors > counted.requests / 1000) {
    throw new Error(`${counted.errors} errors beside ${counted.requests} answers`);
  }
  const userMs = after.userMs - before.userMs;
  const systemMs = after.systemMs - before.systemMs;
  const cpuMs = userMs + systemMs;
  const each = (ms: number) =>
    scenario.unit === "ms/GiB" ? ms / (counted.bytes / GiB) : (ms * 1000) / counted.requests;
  return {
    figure: each(cpuMs),
    user: each(userMs),
    system: each(systemMs),
    load: each(loadMs),
    requestsPerSecond: counted.requests / counted.seconds,
    p99Ms: counted.p99Ms,
    memoryMiB: after.memoryKiB / 1024,
    ownShare: cpuMs / elapsedMs,
    foreignShare: Math.max(0, coreAfter.busyMs - coreBefore.busyMs - cpuMs) / elapsedMs,
    requests: counted.requests,
    errors: counted.errors,
  };
}

/**
 * Memory after the connections settled less memory before they came. The short load before leaves the server with the
 * heap and the backend connections it needs anyway, so that only what the connections add is counted.
 */
async function holdingIdle(bench: Bench, { child, url, dir }: Serving, scenario: IdleScenario): Promise<Sample> {
  const connections = Math.min(scenario.connections, bench.descriptors - 1000);
  const pid = child.pid ?? 0;
  const { streams, groups = "X25519" } = scenario;
  await generate({ cores: bench.loadCores, url, connections: 64, fields: [], streams, seconds: bench.warmup });
  await pause(1000);
  const before = usageOf(pid);
  const http2 = streams !== undefined;
  const cores = bench.loadCores;
  const held = await holdConnections({ cores, url, connections, http2, groups, dir, timeoutMs: 120_000 });
  try {
    await pause(2000);
    const after = usageOf(pid);
    if (hasEnded(child)) throw new Error("ended while connections were idle");
    if (held.open() !== connections) throw new Error(`kept only ${held.open()} of ${connections} connections open`);
    return plainSample((after.memoryKiB - before.memoryKiB) / connections, after.memoryKiB, connections);
  } finally {
    await stop(held.child);
  }
}
