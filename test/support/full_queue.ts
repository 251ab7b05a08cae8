import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import type { TestContext } from "node:test";
import { freePort } from "./ports.ts";

/** Listens with the shortest queue there is, and accepts nothing: it never comes to its event loop. */
const LISTEN = `const server = require("node:net").createServer();
server.listen({ port: Number(process.argv[1]), host: "127.0.0.1", backlog: 1 }, () => {
  require("node:fs").writeSync(1, "ready");
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});`;
/** Linux queues one connection more than the backlog. */
const QUEUED = 2;

/** Starts a server whose accept queue is full, so that connecting to it takes for ever. Returns its port. */
export async function fullQueue(t: TestContext): Promise<number> {
  const port = await freePort();
  const child = spawn(process.execPath, ["-e", LISTEN, `${port}`], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  await once(child.stdout, "data");
  for (let i = 0; i < QUEUED; i++) {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    t.after(() => socket.destroy());
    await once(socket, "connect");
  }
  return port;
}
