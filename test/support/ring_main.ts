/** `ring_main.ts exit|close`: listens on io_uring, says its port, and ends with status 7, or closes all, at the first byte. */
import { openUring } from "../../src/net/uring/engine.ts";
import { freePort } from "./ports.ts";

const engine = openUring();
if (typeof engine === "string") throw new Error(engine);
const port = await freePort();
const address = { family: "ipv4", host: "127.0.0.1", port } as const;
const listener = await engine.listen(
  { address },
  () => ({
    onData(stream) {
      if (process.argv[2] === "exit") process.exit(7);
      listener.close();
      stream.destroy();
    },
    onDrain() {},
    onEnd() {},
    onClose() {},
  }),
  () => {},
);
console.log(port);
