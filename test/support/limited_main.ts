/**
 * A server with few descriptors: `limited_main.ts ENGINE PORT`. It answers what it gets and closes; it stops accepting
 * when it hears that descriptors have run out, and goes on when one is free, as a worker does.
 */

import type { Listener } from "../../src/net/engine.ts";
import { bindSocket, duplicate } from "../../src/net/listening_socket.ts";
import { engineOf } from "../net/contract/engines.ts";

const [name, port] = process.argv.slice(2);
const engine = engineOf(name);
const address = { family: "ipv4", host: "127.0.0.1", port: Number(port) } as const;
const bound = bindSocket({ address, ipv6only: undefined, join: false });
if (!("fd" in bound)) throw new Error(`${bound.call} ${bound.code}`);
const { fd } = bound;
let listener: Listener | undefined;
let paused = false;

async function accept(): Promise<void> {
  paused = false;
  listener = await engine.listen(
    { address, fd: duplicate(fd) },
    () => ({
      onData(stream, bytes) {
        stream.write(bytes);
        stream.end();
      },
      onDrain() {},
      onEnd: (stream) => stream.end(),
      onClose() {
        if (paused) void accept();
      },
    }),
    (error) => {
      console.log(`failed: ${error.code} ${error.message}`);
      listener?.close();
      paused = true;
    },
  );
}

await accept();
console.log("listening");
