import { PASS, type Probe, type Verdict } from "../probe.ts";

/**
 * `type=mysql`: the server greets (MySQL and MariaDB: Protocol::Handshake). The packet's number must be 0, as in the
 * check module. An error in the greeting's place ("Too many connections", "Host is blocked") fails with its text.
 */
export function mysql(): Probe {
  return new Mysql();
}

const HEADER = 4;
const ERROR = 0xff;
/** Error packets are this long at most (512 bytes of text). */
const MAX = 600;

class Mysql implements Probe {
  readonly send = undefined;
  readonly reusable = false;
  readonly unfinished = false;
  private packet = "";

  begin(): void {
    this.packet = "";
  }

  connected(): undefined {}

  data(bytes: Buffer): Verdict | undefined {
    this.packet += bytes.latin1Slice(0, Math.min(bytes.length, MAX - this.packet.length));
    const { packet } = this;
    if (packet.length < HEADER) return undefined;
    if (packet.charCodeAt(3) !== 0) return "not a MySQL greeting";
    const length = packet.charCodeAt(0) | (packet.charCodeAt(1) << 8) | (packet.charCodeAt(2) << 16);
    if (length === 0) return "not a MySQL greeting";
    if (packet.length === HEADER) return undefined;
    if (packet.charCodeAt(HEADER) !== ERROR) return PASS;
    if (packet.length < Math.min(HEADER + length, MAX)) return undefined;
    const code = packet.charCodeAt(HEADER + 1) | (packet.charCodeAt(HEADER + 2) << 8);
    // The text may begin with "#" and a five-character SQL state.
    const text = packet.slice(HEADER + 3, HEADER + length).replace(/^#.{5}/, "");
    return `MySQL error ${code}: ${text}`;
  }

  end(): Verdict {
    return this.packet === "" ? "closed by the server without a greeting" : "closed by the server within the greeting";
  }
}
