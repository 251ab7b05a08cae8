import { randomBytes } from "../../sys/random.ts";
import { PASS, type Probe, type Verdict } from "../probe.ts";

/**
 * `type=ssl_hello`: sends a ClientHello that speaks TLS 1.3 and 1.2 and passes when a ServerHello (or a
 * HelloRetryRequest, which is one) comes back. Nothing is negotiated and no certificate is looked at.
 */
export function sslHello(serverName: string | undefined): Probe {
  return new SslHello(clientHello(serverName));
}

const ALERT = 21;
const HANDSHAKE = 22;
const SERVER_HELLO = 2;
/** Record header and handshake header. */
const RECORD = 5;
const NEEDED = RECORD + 4;

/** RFC 8446 section 6, those a hello may be answered with. */
const ALERTS: Readonly<Record<number, string>> = {
  40: "handshake_failure",
  47: "illegal_parameter",
  50: "decode_error",
  70: "protocol_version",
  71: "insufficient_security",
  80: "internal_error",
  86: "inappropriate_fallback",
  109: "missing_extension",
  112: "unrecognized_name",
  120: "no_application_protocol",
};

class SslHello implements Probe {
  readonly send: Buffer;
  readonly reusable = false;
  readonly unfinished = false;
  private readonly head = Buffer.alloc(NEEDED);
  private got = 0;

  constructor(hello: Buffer) {
    this.send = hello;
  }

  begin(): void {
    this.got = 0;
  }

  connected(): undefined {}

  data(bytes: Buffer): Verdict | undefined {
    this.got += bytes.copy(this.head, this.got);
    const { head, got } = this;
    if (got >= 1 && head[0] !== HANDSHAKE && head[0] !== ALERT) return "not a TLS response";
    if (got >= 2 && head[1] !== 3) return "not a TLS response";
    if (head[0] === ALERT) {
      if (got < RECORD + 2) return undefined;
      const code = head[RECORD + 1];
      return `TLS alert ${ALERTS[code] ?? "number"} ${code}`;
    }
    if (got < NEEDED) return undefined;
    return head[RECORD] === SERVER_HELLO ? PASS : "TLS handshake without a ServerHello";
  }

  end(): Verdict {
    return this.got === 0
      ? "closed by the server without a ServerHello"
      : "closed by the server within the ServerHello";
  }
}

/** TLS 1.3 suites, then ECDHE and DHE suites of TLS 1.2, then RSA ones for old servers. */
const SUITES = [
  0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc009, 0xc013, 0xc00a, 0xc014, 0x009e,
  0x009f, 0x0033, 0x0039, 0x009c, 0x009d, 0x002f, 0x0035, 0x000a,
];
const X25519 = 0x001d;
const GROUPS = [X25519, 0x0017, 0x0018, 0x0019, 0x0100];
const SIGNATURES = [
  0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201,
];

/** A ClientHello in a record of its own (RFC 8446 section 4.1.2). Any 32 bytes are an X25519 public key. */
function clientHello(serverName: string | undefined): Buffer {
  const extensions = [
    ...(serverName === undefined ? [] : [extension(0, vector(2, [0], vector(2, Buffer.from(serverName, "latin1"))))]),
    extension(10, vector(2, words(GROUPS))),
    extension(11, vector(1, [0])),
    extension(13, vector(2, words(SIGNATURES))),
    extension(23),
    extension(43, vector(1, words([0x0304, 0x0303]))),
    extension(45, vector(1, [1])),
    extension(51, vector(2, words([X25519]), vector(2, randomBytes(32)))),
    extension(0xff01, vector(1)),
  ];
  const body = join(
    words([0x0303]),
    randomBytes(32),
    vector(1, randomBytes(32)),
    vector(2, words(SUITES)),
    vector(1, [0]),
    vector(2, ...extensions),
  );
  return join([HANDSHAKE], words([0x0301]), vector(2, [1], vector(3, body)));
}

type Bytes = Uint8Array | readonly number[];

function extension(type: number, ...data: Bytes[]): Buffer {
  return join(words([type]), vector(2, ...data));
}

/** A vector with its length in `width` bytes before it. */
function vector(width: number, ...parts: Bytes[]): Buffer {
  const data = join(...parts);
  const length = Buffer.alloc(width);
  length.writeUIntBE(data.length, 0, width);
  return join(length, data);
}

function words(list: readonly number[]): number[] {
  return list.flatMap((word) => [word >> 8, word & 0xff]);
}

function join(...parts: Bytes[]): Buffer {
  return Buffer.concat(parts.map((part) => Buffer.from(part)));
}
