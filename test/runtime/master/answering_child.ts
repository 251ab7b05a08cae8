import { deserialize } from "node:v8";
import { Channel } from "../../../src/runtime/channel.ts";
import { encodeFromChild, type FromChild, type ToChild } from "../../../src/runtime/messages.ts";

/**
 * A child that handles every message, and takes every cycle but that of generation 9. It exits when it is told to, and by
 * the signals that nginx's workers exit by.
 */
const channel = Channel.at(3, {
  most: 1e6,
  message(bytes) {
    const message: ToChild = deserialize(bytes);
    if (message.type === "cycle" && message.data.generation !== 9) {
      post({ type: "ready", generation: message.data.generation });
    }
    if (message.type === "ping") post({ type: "pong" });
    if (message.type === "quit" || message.type === "stop") process.exit(0);
  },
  tooLong() {},
  closed: () => process.exit(0),
});

function post(message: FromChild): void {
  channel.send(encodeFromChild(message));
}

process.on("SIGQUIT", () => {
  post({ type: "closed" });
  process.exit(0);
});
process.on("SIGTERM", () => process.exit(0));
