/** A program whose workers, on demand, do to their master and to shared memory what a worker that was taken over could. */
import { spawn } from "node:child_process";
import { closeSync, ftruncateSync, readdirSync, readlinkSync, writeSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { block, text } from "../../src/config/directives.ts";
import { defineDirectives } from "../../src/config/schema.ts";
import { duplicate } from "../../src/net/listening_socket.ts";
import type { Program, Sockets, WorkerService } from "../../src/runtime/application.ts";
import { run } from "../../src/runtime/start.ts";
import type { Zone } from "../../src/shm/zone.ts";

const hostile = defineDirectives("hostile", {
  http: block({ in: ["main"], context: "http", doc: "" }),
  hostile_port: text({ in: ["http"], doc: "" }),
});

const CHANNEL = 3;
const DESCRIPTORS = 4;

function frame(text: string, length = text.length): Buffer {
  const bytes = Buffer.alloc(4 + text.length);
  bytes.writeUInt32LE(length);
  bytes.write(text, 4);
  return bytes;
}

/** Writes for as long as the master reads. */
function flood(bytes: Buffer): void {
  try {
    for (;;) writeSync(CHANNEL, bytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") setImmediate(flood, bytes);
  }
}

/** Truncates whatever shared memory this process has a descriptor of. What cannot be done is not. */
function truncateAll(): string {
  let done = 0;
  for (const fd of readdirSync("/proc/self/fd").map(Number)) {
    try {
      if (!readlinkSync(`/proc/self/fd/${fd}`).startsWith("/memfd:")) continue;
      ftruncateSync(fd, 0);
      done++;
    } catch {
      // Closed meanwhile, or sealed.
    }
  }
  return `${done} truncated`;
}

const ATTACKS: Readonly<Record<string, (zone: Zone, argument: string) => unknown>> = {
  pid: () => process.pid,
  garbage: () => writeSync(CHANNEL, Buffer.alloc(1000, 0xff)),
  "no message": () => writeSync(CHANNEL, frame("{]")),
  "another type": () => writeSync(CHANNEL, frame('{"type":"cycle"}')),
  null: () => writeSync(CHANNEL, frame("null")),
  "an endless message": () => flood(frame("x".repeat(60_000), 0xffff_fff0)),
  "a flood": () => flood(frame('{"type":"reopen"}')),
  "a torrent": () => flood(frame('{"type":"ready","generation":1}')),
  "errors that are none": () => writeSync(CHANNEL, frame('{"type":"failed","generation":1,"errors":[1,null,{}]}')),
  "descriptor socket": () => {
    writeSync(DESCRIPTORS, Buffer.alloc(1000, 0xff));
    return "written";
  },
  "closed channel": () => closeSync(CHANNEL),
  "closed descriptors": () => closeSync(DESCRIPTORS),
  exit: (_zone, code) => process.exit(Number(code)),
  "zone filled": (zone) => {
    new Uint8Array(zone.words.buffer).fill(0xa5);
    return "filled";
  },
  "lock taken": (zone) => {
    zone.lock();
    return "taken";
  },
  "lock given away": (zone) => {
    new Int32Array(zone.words.buffer)[8] = 1;
    return "given to process 1, which does not end";
  },
  truncate: truncateAll,
  fork: () => spawn("sleep", ["1000"], { stdio: "ignore", detached: true }).pid,
};

class HostileService implements WorkerService {
  /** By the descriptor that it accepts from. */
  readonly #servers: Map<number, Server>;
  readonly #zone: Zone;

  constructor(zone: Zone, previous: HostileService | undefined) {
    this.#zone = zone;
    this.#servers = previous === undefined ? new Map() : previous.#servers;
  }

  async listen(sockets: Sockets): Promise<readonly string[]> {
    const fds = Object.values(sockets).flat();
    for (const [fd, server] of this.#servers) {
      if (fds.includes(fd)) continue;
      server.close();
      this.#servers.delete(fd);
    }
    for (const fd of fds) {
      if (this.#servers.has(fd)) continue;
      const server = createServer((socket) => this.#accept(socket));
      this.#servers.set(fd, server);
      await new Promise<void>((resolve) => void server.listen({ fd: duplicate(fd) }, resolve));
    }
    return [];
  }

  #accept(socket: Socket): void {
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      const [attack, argument = ""] = bytes.toString("latin1").trim().split(":");
      socket.write(`${ATTACKS[attack](this.#zone, argument)}\n`);
    });
  }

  quit(closed: () => void, done: () => void): void {
    this.stop();
    closed();
    done();
  }

  stop(): void {
    for (const server of this.#servers.values()) server.close();
  }

  retire(done: () => void): void {
    done();
  }
}

function hostileProgram(): Program {
  return {
    directives: [hostile],
    configureArguments: [],
    hosts: () => [],
    *build(cycle) {
      yield;
      const http = cycle.root.children.find((child) => child.context === "http") ?? cycle.root;
      const port = Number(hostile.in(http).hostile_port);
      const zone = cycle.zone({ kind: { name: "hostile", version: 1 }, name: "hostile", size: 65_536 });
      return {
        listeners: [
          {
            address: { family: "ipv4", host: "127.0.0.1", port },
            key: `127.0.0.1:${port}`,
            backlog: 511,
            ipv6only: undefined,
            reuseport: false,
            keepalive: undefined,
            deferred: false,
          },
        ],
        logFiles: [],
        directories: [],
        serve: (_worker, previous) =>
          new HostileService(zone, previous instanceof HostileService ? previous : undefined),
        check: () => ({ stop() {} }),
        forget() {
          zone.lock();
          zone.unlock();
        },
      };
    },
  };
}

run(hostileProgram(), new URL(import.meta.url), fileURLToPath(new URL("../../", import.meta.url)));
