/**
 * What of a small proxied request is JavaScript: the whole program on streams in memory, so that neither the kernel nor the
 * other work of the machine has a part in it. Garbage per request comes out the same each time; of times the least and the
 * 5th percentile of many short bursts are shown, in ns a request.
 *
 *     node bench/javascript.ts [--fastcgi | --cache] [--browser] [--seconds 5] [--beside DIR]
 *
 * With --cache the response comes out of the cache.
 *
 * --beside takes another tree of Holdfast in turn with this one. Which comes first matters by some percent: run it both
 * ways, several times.
 */
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { getHeapStatistics } from "node:v8";
import type { Address } from "../src/net/address.ts";
import type { Engine } from "../src/net/engine.ts";
import { nodeEngine } from "../src/net/node/engine.ts";
import { type ConnectHandler, IGNORE, type Stream, type StreamHandler } from "../src/net/stream.ts";
import { program } from "../src/program.ts";
import { buildCycle } from "../src/runtime/build_cycle.ts";
import { loadConfiguration, validateCycle } from "../src/runtime/master/load_cycle.ts";
import { enterEvent, leaveEvent } from "../src/sys/clock.ts";
import { fastcgiAnswer } from "./fastcgi.ts";
import { scenarios, smallBody } from "./scenarios.ts";
import { fastcgiConf } from "./servers.ts";

const fastcgi = fastcgiConf(3);
const CONFIG = `events {}
http {
  access_log off; keepalive_timeout 300s; keepalive_requests 100000000; default_type text/plain;
  upstream backend { server 127.0.0.1:2; keepalive 64; keepalive_requests 100000000; }
  proxy_cache_path cache keys_zone=pages:1m inactive=1h;
  ${fastcgi.upstream}
  server { listen 127.0.0.1:1; location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }
    location /cached/ { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache pages; proxy_cache_valid 200 1h; }
    ${fastcgi.location} }
}`;
/** What is measured. */
const PATHS = { proxy: "/small", fastcgi: "/fastcgi", cache: "/cached/1k.html" };
type Passage = keyof typeof PATHS;

const CLIENTS = 64;
const BURST = 200;

const at = (port: number): Address => ({ family: "ipv4", host: "127.0.0.1", port });
/** Where what is written is copied to, as an engine does. */
const written = Buffer.allocUnsafeSlow(64 * 1024);
/** Where what is received lies, as with an engine. */
const received = Buffer.allocUnsafeSlow(64 * 1024);

/** The stream that was written to last, and what. */
let last: MemoryStream | undefined;
let lastData: Uint8Array | string = "";

class MemoryStream implements Stream {
  handler: StreamHandler;
  readonly remote: Address;
  readonly local = at(1);
  readonly sending = false;
  readonly unsent = 0;
  closed = false;

  constructor(remote: Address, handler: StreamHandler) {
    this.remote = remote;
    this.handler = handler;
  }
  write(data: Uint8Array | string): boolean {
    last = this;
    lastData = data;
    if (typeof data === "string") written.latin1Write(data, 0, data.length);
    else written.set(data);
    return true;
  }
  cork(): void {}
  uncork(): boolean {
    return true;
  }
  pause(): void {}
  resume(): void {}
  end(): void {}
  destroy(): void {
    this.closed = true;
  }
  setNoDelay(): void {}
  setKeepAlive(): void {}

  receive(bytes: Buffer, view: Buffer): void {
    received.set(bytes);
    enterEvent();
    this.handler.onData(this, view);
    leaveEvent();
  }
}

/** An engine that has no sockets: connecting and accepting are done by hand. */
let connecting: { readonly stream: Stream; readonly handler: ConnectHandler } | undefined;
let accept: ((stream: Stream) => StreamHandler) | undefined;
const memory: Pick<Engine, "connect" | "listen"> = {
  connect(options, handler) {
    const stream = new MemoryStream(options.address, handler);
    connecting = { stream, handler };
    return stream;
  },
  listen(options, accepted) {
    accept = accepted;
    if (options.fd !== undefined) closeSync(options.fd);
    return Promise.resolve({ address: options.address, notes: [], close: () => {} });
  },
};

/** Starts a worker of this tree; what is returned makes one request. */
export async function prepare(fields: readonly string[], passage: Passage): Promise<() => void> {
  Object.assign(nodeEngine, memory);
  const prefix = `${mkdtempSync(join(os.tmpdir(), "holdfast-javascript-"))}/`;
  try {
    mkdirSync(`${prefix}logs`);
    writeFileSync(`${prefix}nginx.conf`, CONFIG);
    const whole = program();
    const paths = { prefix, confPrefix: prefix, confFile: `${prefix}nginx.conf`, errorLog: `${prefix}logs/error.log` };
    const valid = await validateCycle(whole, paths, loadConfiguration(whole, paths, undefined), undefined);
    const { application } = await buildCycle(whole, valid.cycle.data);
    const worker = application.serve({ index: 0, slot: 0, count: 1, connections: 2 * CLIENTS }, undefined);
    const fd = openSync("/dev/null", "r");
    const errors = await worker.listen(Object.fromEntries(application.listeners.map(({ key }) => [key, [fd]])));
    closeSync(fd);
    if (errors.length > 0) throw new Error(errors.join("; "));
    return requests(fields, passage);
  } finally {
    rmSync(prefix, { recursive: true });
  }
}

/** What the server answers: 128 bytes, or a page as a server of files sends it. */
function answerOf(passage: Passage): Buffer {
  if (passage === "fastcgi") return fastcgiAnswer();
  const page = passage === "cache";
  const body = page ? smallBody.repeat(8) : smallBody;
  const fields = [
    "Server: nginx/1.22.1",
    "Date: Thu, 26 Nov 2026 03:52:08 GMT",
    `Content-Type: ${page ? "text/html" : "text/plain"}`,
    `Content-Length: ${body.length}`,
    ...(page ? ["Last-Modified: Wed, 25 Nov 2026 20:00:00 GMT"] : []),
    "Connection: keep-alive",
    ...(page ? ['ETag: "6926ba80-400"', "Accept-Ranges: bytes"] : []),
  ];
  return Buffer.from(`HTTP/1.1 200 OK\r\n${fields.join("\r\n")}\r\n\r\n${body}`, "latin1");
}

/** The first request is made here: with the cache it is the only one that goes to the server. */
function requests(fields: readonly string[], passage: Passage): () => void {
  const head = [`GET ${PATHS[passage]} HTTP/1.1`, "Host: 127.0.0.1:8080", ...fields, "", ""].join("\r\n");
  const request = Buffer.from(head, "latin1");
  const response = answerOf(passage);
  const [requestView, responseView] = [received.subarray(0, request.length), received.subarray(0, response.length)];
  const clients: MemoryStream[] = [];
  for (let port = 1000; port < 1000 + CLIENTS; port++) {
    const stream = new MemoryStream(at(port), IGNORE);
    stream.handler = accept?.(stream) ?? IGNORE;
    clients.push(stream);
  }
  let next = 0;
  const answered = (client: MemoryStream) => {
    if (last !== client || lastData.length < response.length / 2) throw new Error("no response went to the client");
  };
  const passed = () => {
    const client = clients[next++ % CLIENTS];
    client.receive(request, requestView);
    if (connecting !== undefined) connected();
    const server = last;
    if (server === undefined || server === client) throw new Error("no request went to the server");
    server.receive(response, responseView);
    answered(client);
  };
  passed();
  if (passage !== "cache") return passed;
  return () => {
    const client = clients[next++ % CLIENTS];
    client.receive(request, requestView);
    answered(client);
  };
}

function connected(): void {
  if (connecting === undefined) return;
  const { stream, handler } = connecting;
  connecting = undefined;
  handler.onConnect(stream);
}

/** Loads each in turn for so long; ns a request of each burst. */
async function measure(trees: readonly (() => void)[], seconds: number): Promise<number[][]> {
  const bursts: number[][] = trees.map(() => []);
  const end = performance.now() + seconds * 1000;
  for (let round = 0; performance.now() < end; round++) {
    for (const i of round % 2 === 0 ? trees.keys() : [...trees.keys()].reverse()) {
      const start = performance.now();
      for (let n = 0; n < BURST; n++) trees[i]();
      bursts[i].push(((performance.now() - start) * 1e6) / BURST);
    }
    if (round % 20 === 0) await new Promise((turn) => setImmediate(turn));
  }
  // The first third warms up.
  return bursts.map((all) => all.slice(all.length / 3).sort((a, b) => a - b));
}

function garbage(request: () => void): number {
  const before = getHeapStatistics().total_allocated_bytes;
  for (let n = 0; n < 100 * BURST; n++) request();
  return (getHeapStatistics().total_allocated_bytes - before) / (100 * BURST);
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      browser: { type: "boolean", default: false },
      fastcgi: { type: "boolean", default: false },
      cache: { type: "boolean", default: false },
      seconds: { type: "string", default: "5" },
      beside: { type: "string" },
    },
  });
  const named = scenarios.find(({ name }) => name === "proxy-small-browser");
  const fields = values.browser && named?.kind === "load" ? named.fields : [];
  const passage = values.cache ? "cache" : values.fastcgi ? "fastcgi" : "proxy";
  const trees = [await prepare(fields, passage)];
  if (values.beside !== undefined) {
    const other = (await import(resolve(values.beside, "bench/javascript.ts"))) as { prepare: typeof prepare };
    trees.push(await other.prepare(fields, passage));
  }
  const measured = await measure(trees, Number(values.seconds));
  for (const [i, bursts] of measured.entries()) {
    const figures = [bursts[0], bursts[Math.floor(bursts.length / 20)]].map((ns) => ns.toFixed(0));
    console.log(
      `${i === 0 ? "this tree" : "beside"}: ${figures.join(" to ")} ns, ${garbage(trees[i]).toFixed(0)} bytes`,
    );
  }
  process.exit(0);
}
