import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Peer } from "../../src/balancer/peer.ts";
import { block, directive } from "../../src/config/directives.ts";
import { Parser } from "../../src/config/parser.ts";
import { defineDirectives, type Scope } from "../../src/config/schema.ts";
import { buildingScopes } from "../../src/config/scopes.ts";
import type { CheckDefinition } from "../../src/health/definition.ts";
import { check, healthCheck } from "../../src/health/directives.ts";
import { type BoundPlan, bindPlan, type CheckPlan, planChecks, recordsOf } from "../../src/health/plan.ts";
import type { Clock } from "../../src/health/scheduler.ts";
import { HEALTH_ZONE, HealthStates, healthBytes } from "../../src/health/state.ts";
import { type Address, addressText } from "../../src/net/address.ts";
import type { ConnectHandler, Stream } from "../../src/net/stream.ts";
import { type CycleData, cycleOf } from "../../src/runtime/cycle.ts";
import type { ErrorLog, Level } from "../../src/runtime/log/log.ts";
import { makeZone, type Zone } from "../../src/shm/zone.ts";
import { whole } from "../../src/sys/sliced.ts";

/** A new zone of that many bytes for health states. */
export function healthZone(bytes: number): Zone {
  return makeZone(HEALTH_ZONE, "checks", bytes);
}

/** An error log that keeps its lines as `[level] message`. */
export function memoryLog(): ErrorLog & { readonly lines: string[] } {
  const lines: string[] = [];
  return {
    lines,
    wants: () => true,
    write(level: Level, message: string) {
      lines.push(`[${level}] ${message}`);
    },
  };
}

export const DEFINITION: CheckDefinition = {
  type: "tcp",
  label: "tcp",
  interval: 1000,
  jitter: 0,
  timeout: 500,
  fall: 2,
  rise: 2,
  defaultDown: true,
  port: 0,
  unique: false,
  keep: { requests: 1, time: 0 },
  tls: undefined,
  send: "",
  expect: { status: () => true, headers: [], body: [] },
  receive: undefined,
  params: [],
  identity: "tcp",
};

export function peer(index: number, address: Address, more: Partial<Peer> = {}): Peer {
  const name = addressText(address);
  const limits = { weight: 1, maxFails: 1, failTimeout: 10_000, maxConns: 0, slowStart: 0 };
  const flags = { backup: false, down: false, drain: false, route: "", sid: "" };
  return { index, address, name, server: name, ...limits, ...flags, ...more };
}

export function ipv4(port: number, host = "127.0.0.1"): Address {
  return { family: "ipv4", host, port };
}

const surroundings = defineDirectives("surroundings", {
  http: block({ in: ["main"], context: "http", doc: "" }),
  server: { ...block({ in: ["http"], context: "server", doc: "", repeat: true }) },
  location: directive({
    in: ["server"],
    args: [1, 2],
    block: "location",
    syntax: "",
    doc: "",
    initial: () => "",
    repeat: true,
    read: (at) => at.args[0],
  }),
  upstream: directive({
    in: ["http"],
    args: [1, 1],
    block: "upstream",
    syntax: "",
    doc: "",
    initial: () => "",
    repeat: true,
    read: (at) => at.args[0],
  }),
  proxy_pass: directive({
    in: ["location"],
    args: [1, 1],
    syntax: "",
    doc: "",
    initial: () => "",
    read: (at) => at.args[0],
  }),
  proxy_read_timeout: directive({
    in: ["http", "server", "location"],
    args: [1, 1],
    syntax: "",
    doc: "",
    initial: () => "",
    read: (at) => at.args[0],
  }),
  proxy_set_header: directive({
    in: ["http", "server", "location"],
    args: [2, 2],
    syntax: "",
    doc: "",
    initial: () => "",
    repeat: true,
    read: (at) => at.args[0],
  }),
});

/** The scopes of a configuration that knows the health directives and just enough around them. */
function scopes(text: string): Scope {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-"));
  try {
    const file = join(directory, "nginx.conf");
    writeFileSync(file, text, "latin1");
    const parser = new Parser(`${directory}/`);
    parser.file(file);
    const tree = { files: parser.files, directives: parser.directives };
    return whole(buildingScopes(tree, [surroundings, check, healthCheck]));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Binds a plan to a new zone (or one that is there). */
export function bind(plan: CheckPlan, states?: HealthStates, generation = 1, now = 1_000_000): BoundPlan {
  const zone = states ?? new HealthStates(healthZone(healthBytes(recordsOf(plan))));
  return bindPlan(plan, zone, generation, now);
}

/** A plan of one upstream "u" with one check for each address. */
export function planOf(addresses: readonly Address[], definition: Partial<CheckDefinition> = {}, panic = 0): CheckPlan {
  const checks = addresses.map((target) => {
    const name = addressText(target);
    const full = { ...DEFINITION, ...definition };
    return { key: `check ${name} ${full.identity}`, upstream: "u", name, server: name, target, definition: full };
  });
  const servers = checks.map(({ name }, number) => ({ key: `server ${name}`, name, checks: [number] }));
  return { checks, upstreams: [{ name: "u", panic, servers, records: 2 * servers.length }] };
}

const NO_DATA: CycleData = {
  generation: 1,
  directives: [],
  prefix: "/",
  confPrefix: "/",
  errorLog: "",
  zones: {},
  files: new Map(),
  hosts: {},
};

function never(): never {
  throw new Error("not needed here");
}

export function planText(text: string, upstreams: Readonly<Record<string, readonly Peer[]>>): CheckPlan {
  return planChecks(
    cycleOf(NO_DATA, scopes(text), { zone: never, readFile: never }),
    Object.entries(upstreams).map(([name, peers]) => ({ name, peers, capacity: peers.length })),
  );
}

/** A clock that goes only when told to. */
export class TestClock implements Clock {
  time = 0;
  private wakes: { at: number; callback: () => void }[] = [];

  now(): number {
    return this.time;
  }
  wall(): number {
    return 1_000_000 + this.time;
  }
  wake(ms: number, callback: () => void): () => void {
    const entry = { at: this.time + ms, callback };
    this.wakes.push(entry);
    return () => {
      this.wakes = this.wakes.filter((other) => other !== entry);
    };
  }
  /** Goes to a time, waking what is due on the way. */
  to(time: number): void {
    for (;;) {
      const next = this.wakes.filter(({ at }) => at <= time).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.wakes = this.wakes.filter((other) => other !== next);
      this.time = Math.max(this.time, next.at);
      next.callback();
    }
    this.time = time;
  }
}

/** A server on a free port of the loopback. */
export async function serve(
  answer: (socket: net.Socket) => void,
): Promise<{ address: Address; port: number; server: net.Server; connections: () => number; close: () => void }> {
  let connections = 0;
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    answer(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : 0;
  const close = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { address: ipv4(port), port, server, connections: () => connections, close };
}

/** A stream that nothing comes of. */
export function silentStream(remote: Address, handler: ConnectHandler): Stream {
  return {
    handler,
    remote,
    local: remote,
    write: () => true,
    cork() {},
    uncork: () => true,
    sending: false,
    unsent: 0,
    pause() {},
    resume() {},
    end() {},
    destroy() {},
    closed: false,
    setNoDelay() {},
    setKeepAlive() {},
  };
}
