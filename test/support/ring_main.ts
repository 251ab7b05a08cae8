/**
 * `ring_main.ts exit|close|end|answer`: listens on io_uring and says its port. At the first byte it ends with status 7 (exit), or
 * closes all (close). `end`: it accepts one connection, closes that at its peer's end, and has status 8 when it hears of it. `answer`: the same, but it answers with 20 MB at that end.
 */
import { openUring } from "../../src/net/uring/engine.ts";
import { freePort } from "./ports.ts";

const engine = openUring();
if (typeof engine === "string") throw new Error(engine);
const port = await freePort();
const address = { family: "ipv4", host: "127.0.0.1", port } as const;
const [, , how] = process.argv;
const listener = await engine.listen(
  { address },
  () => {
    if (how === "end" || how === "answer") listener.close();
    return {
      onData(stream) {
        if (how === "exit") process.exit(7);
        if (how === "end" || how === "answer") return;
        listener.close();
        stream.destroy();
      },
      onDrain() {},
      onEnd(stream) {
        if (how !== "answer") stream.destroy();
        else stream.write(Buffer.alloc(20_000_000));
        stream.end();
      },
      onClose() {
        if (how === "end" || how === "answer") process.exitCode = 8;
      },
    };
  },
  () => {},
);
console.log(port);
