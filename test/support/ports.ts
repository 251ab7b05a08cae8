import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { openBy } from "./processes.ts";

const given = new Set<number>();

/** A TCP port of 127.0.0.1 that nobody listens on now, and that this process has not been given before. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = await new Promise<number>((resolve, reject) => {
      const server = createServer();
      server.once("error", reject);
      server.listen({ host: "127.0.0.1", port: 0, exclusive: true }, () => {
        const address = server.address();
        server.close(() => {
          if (address === null || typeof address === "string") reject(new Error("no port was given"));
          else resolve(address.port);
        });
      });
    });
    if (given.has(port)) continue;
    given.add(port);
    return port;
  }
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
