/**
 * Frames that the nodes of a cluster send each other over TCP. All numbers are big-endian:
 *
 *     0   "HFC"
 *     3   u8   version of the protocol that the rest is of
 *     4   u8   the oldest version that the sender understands
 *     5   u8   the newest one
 *     6   u8   kind
 *     7   u8   0
 *     8   u32  bytes of the body
 *     12  u64  the sender's run: a random number of its checker's start
 *     20  u64  its number in that run, which always grows
 *     28  u64  the sender's clock, ms since 1970
 *     36  u64  of an answer: the run of the request, and its number
 *     44  u64
 *     52       the body, JSON
 *              HMAC-SHA256 of all that
 *
 * The head and the signature are the same in every version, so that whoever gets a frame of another version can tell whose it is.
 */
export const PROTOCOL = { oldest: 1, newest: 1 } as const;

export const KIND = { request: 1, answer: 2, refusal: 3 } as const;

export interface Frame {
  readonly version: number;
  readonly oldest: number;
  readonly newest: number;
  readonly kind: number;
  readonly run: bigint;
  readonly number: bigint;
  /** ms since 1970. */
  readonly time: number;
  readonly echoRun: bigint;
  readonly echoNumber: bigint;
  readonly body: Buffer;
}

/** A frame as it came: what its signature is of, and the signature. */
export interface ReceivedFrame extends Frame {
  readonly signed: Buffer;
  readonly signature: Buffer;
}

export type Sign = (bytes: Buffer) => Buffer;

const MAGIC = 0x484643;
const MAGIC_BYTES = 3;
/** A record of a handshake, of version 3. */
const TLS_HANDSHAKE = 0x1603;
/** Pieces of a frame that are kept as they came: small ones take more memory than what is in them. */
const MOST_PIECES = 64;
const HEAD = 52;
const SIGNATURE_BYTES = 32;
/** Bytes of a body. */
const MOST_BODY = 4 * 1024 * 1024;

export function encodeFrame(frame: Frame, sign: Sign): Buffer {
  const { body } = frame;
  const end = HEAD + body.length;
  const bytes = Buffer.allocUnsafe(end + SIGNATURE_BYTES);
  bytes.writeUIntBE(MAGIC, 0, 3);
  bytes[3] = frame.version;
  bytes[4] = frame.oldest;
  bytes[5] = frame.newest;
  bytes[6] = frame.kind;
  bytes[7] = 0;
  bytes.writeUInt32BE(body.length, 8);
  bytes.writeBigUInt64BE(frame.run, 12);
  bytes.writeBigUInt64BE(frame.number, 20);
  bytes.writeBigUInt64BE(BigInt(Math.max(0, Math.trunc(frame.time))), 28);
  bytes.writeBigUInt64BE(frame.echoRun, 36);
  bytes.writeBigUInt64BE(frame.echoNumber, 44);
  body.copy(bytes, HEAD);
  sign(bytes.subarray(0, end)).copy(bytes, end);
  return bytes;
}

/** Takes bytes and gives frames. After an error the connection is of no use. */
export class FrameReader {
  /** What has come of a frame that is not whole yet: put together when it is, so that a long one is copied once. */
  #pieces: Buffer[] = [];
  #length = 0;
  /** How much there must be before there is something to do. */
  #needed = MAGIC_BYTES;
  /** What is wrong with what has come; what a sentence says of it. */
  error: string | undefined = undefined;
  readonly #most: number;

  /** `most`: bytes that a body may have. */
  constructor(most = MOST_BODY) {
    this.#most = most;
  }

  /** Bytes of a frame that is not whole yet. */
  get pending(): number {
    return this.#length;
  }

  /** Takes bytes lent for the call; the frames are the reader's own. */
  read(bytes: Buffer): readonly ReceivedFrame[] {
    const frames: ReceivedFrame[] = [];
    if (this.error !== undefined) return frames;
    this.#pieces.push(Buffer.from(bytes));
    this.#length += bytes.length;
    if (this.#length < this.#needed) {
      if (this.#pieces.length > MOST_PIECES) this.#pieces = [Buffer.concat(this.#pieces)];
      return frames;
    }
    let all = this.#pieces.length === 1 ? this.#pieces[0] : Buffer.concat(this.#pieces);
    for (;;) {
      const length = this.#lengthOf(all);
      this.#needed = length ?? HEAD;
      if (length === undefined || all.length < length) break;
      frames.push(decode(all.subarray(0, length)));
      all = all.subarray(length);
    }
    this.#pieces = all.length === 0 ? [] : [all];
    this.#length = all.length;
    if (all.length < MAGIC_BYTES) this.#needed = MAGIC_BYTES;
    return frames;
  }

  /** The whole length of the frame that begins there; undefined where that is not known. */
  #lengthOf(bytes: Buffer): number | undefined {
    if (bytes.length >= MAGIC_BYTES && bytes.readUIntBE(0, MAGIC_BYTES) !== MAGIC) {
      const isTls = bytes.readUIntBE(0, 2) === TLS_HANDSHAKE;
      this.error = isTls ? "begins TLS, which this node has not" : "is not of the cluster's protocol";
    }
    if (this.error !== undefined || bytes.length < HEAD) return undefined;
    const body = bytes.readUInt32BE(8);
    if (body > this.#most) this.error = `has ${body} bytes, which is too long`;
    return this.error === undefined ? HEAD + body + SIGNATURE_BYTES : undefined;
  }
}

function decode(bytes: Buffer): ReceivedFrame {
  const end = bytes.length - SIGNATURE_BYTES;
  return {
    version: bytes[3],
    oldest: bytes[4],
    newest: bytes[5],
    kind: bytes[6],
    run: bytes.readBigUInt64BE(12),
    number: bytes.readBigUInt64BE(20),
    time: Number(bytes.readBigUInt64BE(28)),
    echoRun: bytes.readBigUInt64BE(36),
    echoNumber: bytes.readBigUInt64BE(44),
    body: bytes.subarray(HEAD, end),
    signed: bytes.subarray(0, end),
    signature: bytes.subarray(end),
  };
}

/** The version to speak with whoever understands those; undefined: there is none. */
export function commonVersion({ oldest, newest }: Pick<Frame, "oldest" | "newest">): number | undefined {
  const version = Math.min(newest, PROTOCOL.newest);
  return version >= oldest && version >= PROTOCOL.oldest ? version : undefined;
}
