import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { freePort } from "./ports.ts";
import { waitFor } from "./wait.ts";

/** A running memcached. */
export interface Memcached {
  /** `127.0.0.1:port` */
  readonly address: string;
  /** Stores a value, a byte string. */
  set(key: string, value: string, flags?: number): Promise<void>;
}

/** Starts memcached with values of up to 4 MiB. */
export async function startMemcached(t: TestContext): Promise<Memcached> {
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ["-u", "nobody"] : [];
  const child = spawn("memcached", ["-l", "127.0.0.1", "-p", String(port), "-U", "0", "-I", "4m", ...user], {
    stdio: "ignore",
  });
  const exited = once(child, "exit");
  t.after(async () => {
    child.kill();
    await exited;
  });
  const socket = await waitFor(() => connected(port), "memcached listens");
  t.after(() => socket.destroy());
  return {
    address: `127.0.0.1:${port}`,
    async set(key, value, flags = 0) {
      socket.write(Buffer.from(`set ${key} ${flags} 0 ${value.length}\r\n${value}\r\n`, "latin1"));
      const [answer] = await once(socket, "data");
      if (String(answer) !== "STORED\r\n") throw new Error(`memcached says ${answer}`);
    },
  };
}

function connected(port: number): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(socket)).on("error", () => resolve(undefined));
  });
}
