/**
 * What nodes of a cluster publish on the channel of their store. All numbers are big-endian:
 *
 *     0   "HFB"
 *     3   u8   version of all that follows
 *     4        HMAC-SHA256 of the rest, with "HFB" and the version before it
 *     36  u64  the sender's run: a random number of its checker's start
 *     44  u48  the batch's number in that run, from 1 on without gaps
 *     50  f64  the sender's monotonic clock, ms
 *     58  u8   bytes of the sender's name, which follows
 *         u8   bytes of the topic, which follows
 *              the payload
 */
export interface WireBatch {
  readonly run: bigint;
  readonly number: number;
  readonly sent: number;
  readonly from: string;
  readonly topic: string;
  readonly payload: Buffer;
}

/** Why bytes are no batch. */
export type BatchRefusal = "form" | "version" | "signature";

const MAGIC = Buffer.from("HFB");
const VERSION = 1;
const SIGNATURE = 4;
const SIGNATURE_BYTES = 32;
const RUN = SIGNATURE + SIGNATURE_BYTES;
const NUMBER = RUN + 8;
const SENT = NUMBER + 6;
const NAMES = SENT + 8;

export function encodeBatch(batch: WireBatch, sign: (bytes: Buffer) => Buffer): Buffer {
  const from = Buffer.from(batch.from, "latin1");
  const topic = Buffer.from(batch.topic, "latin1");
  const head = Buffer.alloc(NAMES + 1 + from.length + 1 + topic.length);
  MAGIC.copy(head);
  head[3] = VERSION;
  head.writeBigUInt64BE(batch.run, RUN);
  head.writeUIntBE(batch.number, NUMBER, 6);
  head.writeDoubleBE(batch.sent, SENT);
  head[NAMES] = from.length;
  from.copy(head, NAMES + 1);
  head[NAMES + 1 + from.length] = topic.length;
  topic.copy(head, NAMES + 2 + from.length);
  const bytes = Buffer.concat([head, batch.payload]);
  sign(signedPart(bytes)).copy(bytes, SIGNATURE);
  return bytes;
}

/** `most`: bytes of a payload. */
export function decodeBatch(
  bytes: Buffer,
  most: number,
  verifies: (bytes: Buffer, signature: Buffer) => boolean,
): WireBatch | BatchRefusal {
  if (bytes.length < NAMES + 2 || bytes.compare(MAGIC, 0, 3, 0, 3) !== 0) return "form";
  if (bytes[3] !== VERSION) return "version";
  const topicAt = NAMES + 1 + bytes[NAMES];
  if (topicAt >= bytes.length) return "form";
  const payloadAt = topicAt + 1 + bytes[topicAt];
  if (payloadAt > bytes.length || bytes.length - payloadAt > most) return "form";
  if (!verifies(signedPart(bytes), bytes.subarray(SIGNATURE, RUN))) return "signature";
  const sent = bytes.readDoubleBE(SENT);
  return Number.isFinite(sent)
    ? {
        run: bytes.readBigUInt64BE(RUN),
        number: bytes.readUIntBE(NUMBER, 6),
        sent,
        from: bytes.latin1Slice(NAMES + 1, topicAt),
        topic: bytes.latin1Slice(topicAt + 1, payloadAt),
        payload: bytes.subarray(payloadAt),
      }
    : "form";
}

/** Magic and version, and all behind the signature. */
function signedPart(bytes: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, SIGNATURE), bytes.subarray(RUN)]);
}
