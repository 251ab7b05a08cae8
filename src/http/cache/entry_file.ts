import fs from "node:fs";
import { FILE_PIECE } from "../../net/engine.ts";
import { zlib } from "../../sys/builtin.ts";
import { osPath } from "../../sys/paths.ts";
import { scanned } from "../../wire/head_text.ts";
import { FieldSet } from "../../wire/http1/field_set.ts";
import { HeaderList } from "../../wire/http1/header_list.ts";
import { HOP_BY_HOP } from "../../wire/http1/hop_by_hop.ts";
import { DONE, ResponseHead } from "../../wire/http1/response_head.ts";
import type { AnswerHead } from "../core/upstream.ts";
import { BLOCK, type IndexedFile } from "./entry_table.ts";

/**
 * The files of the cache: numbers (little-endian), the key, Vary and the response's head, all under one checksum; then the body.
 * `grep -a '^KEY: '` finds a key in them, as in nginx's.
 *
 *      0  magic and version
 *      4  checksum (CRC-32) of what follows of the head
 *      8  bytes of the head, behind which the body begins
 *     12  bytes of the key, of Vary
 *     20  the response's contentLength, version and status
 *     32  bytes of the body, its checksum, and 1 where it has none because it answers HEAD
 *     48  until when it is fresh; for how long it may be sent after that while it is updated, or if servers fail
 *     72  when it was stored or confirmed last
 *     80  the digest of the request's fields that Vary names
 *     96  the number of the last purge before it was fetched; what the variants of a key have in common
 *    112  bytes of the tags
 *    116  "\nKEY: ", the key, "\n", Vary, the tags, the response's head
 */
const MAGIC = 0x01434648;
const VARIANT = 80;
const PURGE = 96;
const TEXTS = 116;
/** No file of the cache is shorter. */
export const LEAST_FILE = TEXTS;
/** A longer head is not kept: it is read at once. */
export const MOST_HEAD = FILE_PIECE;
const LABEL = "\nKEY: ";

/** Times are seconds since 1970, periods seconds. */
export interface Validity {
  readonly valid: number;
  readonly updating: number;
  readonly error: number;
  /** When it was stored or confirmed last. */
  readonly date: number;
}

/** What the head of a file says. */
export interface StoredHead extends Validity {
  readonly key: string;
  /** "" where the response is the same for all requests. */
  readonly vary: string;
  /** 16 bytes; of no meaning without `vary`. */
  readonly variant: string;
  /** The number of the last purge before it was fetched. */
  readonly purge: number;
  /** That of a variant is its key's own entry's: which a purge replaces, with all variants before it. */
  readonly family: number;
  /** Each between spaces: ` a b `; "" without any. */
  readonly tags: string;
  readonly answer: AnswerHead;
  readonly headBytes: number;
  readonly bodyBytes: number;
  readonly bodyChecksum: number;
  /** It was asked for by HEAD (`…_cache_convert_head off`), and has no body: it is no answer to GET. */
  readonly toHead: boolean;
}

export type HeadToStore = Omit<StoredHead, "headBytes">;

/** Framing is the connection's; the length is kept as a number. */
const LEFT_OUT = new FieldSet([...HOP_BY_HOP, "content-length"]);

/** What is to be stored of an answer, kept until its body is whole: the answer's own object is used for others. */
export function entryOf(
  answer: AnswerHead,
  about: Omit<HeadToStore, "answer" | "bodyBytes" | "bodyChecksum">,
): TextToStore {
  const { contentLength, version, status } = answer;
  return { ...about, text: answerText(answer), contentLength, version, status, bodyBytes: 0, bodyChecksum: 0 };
}

function answerText(head: AnswerHead): string {
  if (head.version === 9) return "";
  return `HTTP/1.1 ${head.statusLine ?? head.status}\r\n${head.headers.lines(LEFT_OUT)}\r\n`;
}

export interface TextToStore extends Omit<HeadToStore, "answer"> {
  readonly text: string;
  readonly contentLength: number;
  readonly version: number;
  readonly status: number;
}

export function headLength({ key, vary, tags, text }: Pick<TextToStore, "key" | "vary" | "tags" | "text">): number {
  return TEXTS + LABEL.length + key.length + 1 + vary.length + tags.length + text.length;
}

/** The head of a file. */
export function encodeHead(entry: TextToStore): Buffer {
  const { key, vary, tags, text } = entry;
  const bytes = Buffer.alloc(headLength(entry));
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(bytes.length, 8);
  bytes.writeUInt32LE(key.length, 12);
  bytes.writeUInt32LE(vary.length, 16);
  bytes.writeDoubleLE(entry.contentLength, 20);
  bytes.writeUInt16LE(entry.version, 28);
  bytes.writeUInt16LE(entry.status, 30);
  bytes.writeDoubleLE(entry.bodyBytes, 32);
  bytes.writeUInt32LE(entry.bodyChecksum, 40);
  bytes.writeUInt32LE(entry.toHead ? 1 : 0, 44);
  bytes.write(entry.variant, VARIANT, "latin1");
  bytes.writeDoubleLE(entry.purge, PURGE);
  bytes.writeDoubleLE(entry.family, PURGE + 8);
  bytes.writeUInt32LE(tags.length, PURGE + 16);
  bytes.write(`${LABEL}${key}\n${vary}${tags}${text}`, TEXTS, "latin1");
  return setValidity(bytes, entry);
}

/** Writes the validity into a whole head, and its checksum. */
function setValidity(head: Buffer, { valid, updating, error, date }: Validity): Buffer {
  head.writeDoubleLE(valid, 48);
  head.writeDoubleLE(updating, 56);
  head.writeDoubleLE(error, 64);
  head.writeDoubleLE(date, 72);
  head.writeUInt32LE(checksum(head.subarray(8)), 4);
  return head;
}

/** The bytes at the beginning of a file that change with the validity; `head` is all of its head, and is altered. */
export function renewedNumbers(head: Buffer, validity: Validity): Buffer {
  return setValidity(head, validity).subarray(0, VARIANT);
}

/** The length of a head, as its beginning says. */
export function claimedHeadBytes(bytes: Buffer): number {
  return bytes.length < TEXTS ? TEXTS : bytes.readUInt32LE(8);
}

/** Reads the head of a file, of which there are `bytes`; a string says what is wrong with it. */
export function decodeHead(bytes: Buffer): StoredHead | string {
  if (bytes.length < TEXTS) return "is too small";
  if (bytes.readUInt32LE(0) !== MAGIC) return "version mismatch";
  const headBytes = bytes.readUInt32LE(8);
  if (headBytes > bytes.length) return "has too long header";
  if (checksum(bytes.subarray(8, headBytes)) !== bytes.readUInt32LE(4)) return "has a wrong checksum";
  const keyFrom = TEXTS + LABEL.length;
  const varyFrom = keyFrom + bytes.readUInt32LE(12) + 1;
  const tagsFrom = varyFrom + bytes.readUInt32LE(16);
  const textFrom = tagsFrom + bytes.readUInt32LE(PURGE + 16);
  const contentLength = bytes.readDoubleLE(20);
  const answer = answerOf(bytes.subarray(textFrom, headBytes), bytes.readUInt16LE(28), contentLength);
  if (answer === undefined) return "contains invalid header";
  return {
    key: bytes.latin1Slice(keyFrom, varyFrom - 1),
    vary: bytes.latin1Slice(varyFrom, tagsFrom),
    variant: bytes.latin1Slice(VARIANT, PURGE),
    purge: bytes.readDoubleLE(PURGE),
    family: bytes.readDoubleLE(PURGE + 8),
    tags: bytes.latin1Slice(tagsFrom, textFrom),
    answer,
    headBytes,
    bodyBytes: bytes.readDoubleLE(32),
    bodyChecksum: bytes.readUInt32LE(40),
    toHead: bytes.readUInt32LE(44) !== 0,
    valid: bytes.readDoubleLE(48),
    updating: bytes.readDoubleLE(56),
    error: bytes.readDoubleLE(64),
    date: bytes.readDoubleLE(72),
  };
}

function answerOf(text: Buffer, version: number, contentLength: number): AnswerHead | undefined {
  if (version === 9) return { ...NO_HEAD, headers: new HeaderList(), contentLength };
  const head = new ResponseHead();
  head.reset(text.length);
  if (head.feed(text, 0, text.length) !== DONE) return undefined;
  head.contentLength = contentLength;
  return head;
}

/** An HTTP/0.9 response has none. */
const NO_HEAD: Omit<AnswerHead, "headers" | "contentLength"> = {
  version: 9,
  status: 200,
  statusLine: scanned("200 OK"),
  length: 0,
  setCookieAt: -1,
  ignored: undefined,
  xAccelRedirect: undefined,
  xAccelBuffering: undefined,
  xAccelLimitRate: undefined,
  xAccelCharset: undefined,
};

/** CRC-32 of bytes, or of those before and these. */
export function checksum(bytes: Uint8Array, before = 0): number {
  return zlib().crc32(bytes, before);
}

/** What the index notes of a file that is what it should be. */
export function fileFacts(headBytes: number, stats: fs.Stats): IndexedFile {
  return { headBytes, blocks: blocksOf(stats), identity: identityOf(stats) };
}

/** ngx_file_fs_size: what a file takes on the disk, in blocks; not what a file system has taken for it in advance. */
export function blocksOf({ size, blocks, blksize }: fs.Stats): number {
  const taken = blocks * 512;
  return Math.ceil((taken > size && taken < size + 8 * blksize ? taken : size) / BLOCK);
}

/**
 * Tells a file from another one, and from what it is when somebody has written to it since: the time of its last change is in it,
 * which no program can set. Never 0.
 */
function identityOf({ ino, ctimeMs, size }: fs.Stats): number {
  let hash = 0;
  for (const number of [ino, ctimeMs * 4096, size]) {
    hash = Math.imul(hash ^ ((number % 2 ** 32) | 0), 0x9e37_79b1);
    hash = Math.imul(hash ^ (hash >>> 15) ^ Math.floor(number / 2 ** 32), 0x85eb_ca6b);
    hash ^= hash >>> 13;
  }
  return hash | 0 || 1;
}

/** Removes a file; with an `inode`, only that one. Whether there was one. */
export function removeFile(path: string, inode?: number): boolean {
  try {
    if (inode !== undefined && fs.statSync(osPath(path)).ino !== inode) return false;
    fs.unlinkSync(osPath(path));
    return true;
  } catch {
    // It is not there, mostly. One that cannot be removed is a miss all the same, by the index or by a record.
    return false;
  }
}
