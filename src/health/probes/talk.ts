import { PASS, type Probe, type Verdict } from "../probe.ts";
import { MAX_BODY } from "../response.ts";

/**
 * Number of searches after which the answer is searched only when it has doubled, and once more at its end. Otherwise a
 * server that sends byte by byte would have it searched from the start for each byte.
 */
const SEARCHES = 200;

/** `health_check type=tcp` with `send` and `expect` in its match block: what is received must come to match. */
export function talk(send: string, receive: (received: string) => boolean): Probe {
  let received = "";
  let searches = 0;
  let searched = 0;
  return {
    send: send === "" ? undefined : Buffer.from(send, "latin1"),
    reusable: false,
    unfinished: false,
    begin() {
      received = "";
      searches = 0;
      searched = 0;
    },
    connected: () => undefined,
    data(bytes): Verdict | undefined {
      received += bytes.latin1Slice(0, Math.min(bytes.length, MAX_BODY - received.length));
      const full = received.length >= MAX_BODY;
      if (searches < SEARCHES || full || received.length >= 2 * searched) {
        searches++;
        searched = received.length;
        if (receive(received)) return PASS;
      }
      return full ? "what was received is not what is expected" : undefined;
    },
    end() {
      if (received === "") return "closed by the server without a response";
      if (searched < received.length && receive(received)) return PASS;
      return "what was received is not what is expected";
    },
  };
}
