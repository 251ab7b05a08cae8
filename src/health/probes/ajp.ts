import { PASS, type Probe, type Verdict } from "../probe.ts";

/** A packet to the container (0x1234) of one byte: CPing (10). */
const CPING = Buffer.from([0x12, 0x34, 0x00, 0x01, 0x0a]);
/** A packet from it ("AB") of one byte: CPong (9). */
const CPONG = Buffer.from([0x41, 0x42, 0x00, 0x01, 0x09]);

/** `type=ajp`: sends AJP 1.3's CPing and expects CPong. */
export function ajp(): Probe {
  let got = 0;
  return {
    send: CPING,
    reusable: false,
    unfinished: false,
    begin() {
      got = 0;
    },
    connected: () => undefined,
    data(bytes): Verdict | undefined {
      for (let at = 0; at < bytes.length && got < CPONG.length; at++, got++) {
        if (bytes[at] !== CPONG[got]) return "not an AJP CPong";
      }
      return got === CPONG.length ? PASS : undefined;
    },
    end: () => (got === 0 ? "closed by the server without a CPong" : "closed by the server within the CPong"),
  };
}
