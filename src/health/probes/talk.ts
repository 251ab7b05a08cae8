import { PASS, type Protocol, type Verdict } from "../probe.ts";
import { MAX_BODY } from "../response.ts";

/** `health_check type=tcp` with `send` and `expect` in its match block: what is received must come to match. */
export function talk(send: string, receive: (received: string) => boolean): Protocol {
  let received = "";
  return {
    send: send === "" ? undefined : Buffer.from(send, "latin1"),
    drained: false,
    draining: false,
    begin() {
      received = "";
    },
    connected: () => undefined,
    data(bytes): Verdict | undefined {
      received += bytes.latin1Slice(0, Math.min(bytes.length, MAX_BODY - received.length));
      if (receive(received)) return PASS;
      return received.length >= MAX_BODY ? "what was received is not what is expected" : undefined;
    },
    end: () =>
      received === "" ? "closed by the server without a response" : "what was received is not what is expected",
  };
}
