import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { openBy } from "./processes.ts";

/**
 * Tests run side by side, and have proxies that go on asking at ports where a server was. So each process has blocks of ports to
 * itself, as long as it listens on their first ones; below those that the kernel gives to clients, and to servers that ask for none.
 */
const FIRST = 10_000;
const BLOCK = 100;
const BLOCKS = 220;
const left: number[] = [];
let taking: Promise<void> | undefined;

/** A TCP port of 127.0.0.1 that nobody listens on now, and that no other test is given as long as this process lives. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = left.shift();
    if (port === undefined) {
      taking ??= takeBlock().finally(() => {
        taking = undefined;
      });
      await taking;
    } else if (await canBind(port)) {
      return port;
    }
  }
}

async function takeBlock(): Promise<void> {
  const start = Math.floor(Math.random() * BLOCKS);
  for (let i = 0; i < BLOCKS; i++) {
    const first = FIRST + ((start + i) % BLOCKS) * BLOCK;
    if (!(await holds(first))) continue;
    for (let port = first + 1; port < first + BLOCK; port++) left.push(port);
    return;
  }
  throw new Error("all ports are other tests'");
}

/** Whether this process can listen on a port, which it does until its end. */
function holds(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy()).unref();
    server.once("error", () => resolve(false));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => resolve(true));
  });
}

/** Whether a port of 127.0.0.1 can be bound: the kernel may close a killed process's sockets some time after its end. */
export function canBind(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** The local TCP ports that a process listens on (Linux). */
export function listeningPorts(pid: number): number[] {
  const sockets = new Set(openBy(pid));
  const ports: number[] = [];
  for (const table of ["tcp", "tcp6"]) {
    for (const line of readFileSync(`/proc/net/${table}`, "latin1").trim().split("\n").slice(1)) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      if (state === "0A" && sockets.has(`socket:[${inode}]`)) ports.push(Number.parseInt(local.split(":")[1], 16));
    }
  }
  return [...new Set(ports)];
}
