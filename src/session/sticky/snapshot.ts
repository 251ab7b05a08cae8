import { closeSync, constants, fstatSync, openSync, promises, readFileSync, renameSync, writeFileSync } from "node:fs";
import { crypto } from "../../sys/builtin.ts";
import { errnoCode } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import { MAX_SID } from "./learned_entries.ts";
import type { LearnedSession } from "./learned_sessions.ts";

/**
 * The file in which learned sessions outlive a restart. It has no ids of sessions, only their MD5s, and is replaced as a whole.
 *
 *     magic · version · number of sessions (32 bits each) · lengths of both names (16 bits each) · zone · upstream
 *     · for each session its key (16 bytes), last use (a float), length of the sid (a byte), sid · SHA-256 of all before
 *
 * Numbers are little-endian. Another layout gets another version.
 */
const MAGIC = "HFSTICKY";
const VERSION = 1;
const HEAD = 20;
const KEY = 16;
const SESSION = KEY + 9;
const CHECKSUM = 32;
/** Whoever has given it to a server since then knows better. */
const GIVEN = 1;
/** A larger file is not read. */
const MOST_BYTES = 256 * 1024 * 1024;

/** What a file belongs to. */
export interface SnapshotOwner {
  readonly zone: string;
  readonly upstream: string;
}

/** Puts the file together, of sessions in the order of their last use. */
export class SnapshotWriter {
  readonly #pieces: Buffer[] = [];
  readonly #owner: SnapshotOwner;
  #count = 0;

  constructor(owner: SnapshotOwner) {
    this.#owner = owner;
  }

  add(sessions: readonly LearnedSession[]): void {
    const piece = Buffer.allocUnsafe(sessions.length * (SESSION + MAX_SID));
    let at = 0;
    for (const { key, last, sid } of sessions) {
      piece.latin1Write(key, at, KEY);
      piece.writeDoubleLE(last, at + KEY);
      piece[at + KEY + 8] = sid.length;
      piece.latin1Write(sid, at + SESSION, sid.length);
      at += SESSION + sid.length;
    }
    this.#pieces.push(piece.subarray(0, at));
    this.#count += sessions.length;
  }

  finish(): Buffer {
    const { zone, upstream } = this.#owner;
    const head = Buffer.alloc(HEAD);
    head.write(MAGIC, "latin1");
    head.writeUInt32LE(VERSION, 8);
    head.writeUInt32LE(this.#count, 12);
    head.writeUInt16LE(zone.length, 16);
    head.writeUInt16LE(upstream.length, 18);
    const content = Buffer.concat([head, Buffer.from(zone + upstream, "latin1"), ...this.#pieces]);
    return Buffer.concat([content, checksumOf(content)]);
  }
}

function checksumOf(content: Buffer): Buffer {
  return crypto().createHash("sha256").update(content).digest();
}

/** The sessions of a file; a string says why it is not taken. */
function decode(file: Buffer, owner: SnapshotOwner): readonly LearnedSession[] | string {
  if (file.length < HEAD + CHECKSUM || file.latin1Slice(0, 8) !== MAGIC) return "it is no snapshot of sticky sessions";
  const version = file.readUInt32LE(8);
  if (version !== VERSION) return `it has version ${version} in place of ${VERSION}`;
  const content = file.subarray(0, file.length - CHECKSUM);
  if (!checksumOf(content).equals(file.subarray(content.length))) return "its checksum is wrong";
  const names = HEAD + content.readUInt16LE(16);
  let at = names + content.readUInt16LE(18);
  if (at > content.length) return "it is not as it should be";
  const zone = content.latin1Slice(HEAD, names);
  const upstream = content.latin1Slice(names, at);
  if (zone !== owner.zone || upstream !== owner.upstream)
    return `it is that of zone "${zone}" of upstream "${upstream}"`;
  const sessions: LearnedSession[] = [];
  for (let left = content.readUInt32LE(12); left > 0; left--) {
    if (at + SESSION > content.length) return "it is shorter than it says";
    const length = content[at + KEY + 8];
    if (length === 0 || length > MAX_SID || at + SESSION + length > content.length) return "it is not as it should be";
    sessions.push({
      key: content.latin1Slice(at, at + KEY),
      last: content.readDoubleLE(at + KEY),
      given: GIVEN,
      sid: content.latin1Slice(at + SESSION, at + SESSION + length),
    });
    at += SESSION + length;
  }
  return sessions;
}

/** What an earlier run has left; undefined where there is no such file, a string says why it is not taken. */
export function readSnapshot(path: string, owner: SnapshotOwner): readonly LearnedSession[] | string | undefined {
  let fd: number;
  try {
    fd = openSync(osPath(path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    return errnoCode(error) === "ENOENT" ? undefined : String(error);
  }
  try {
    const status = fstatSync(fd);
    if (!status.isFile()) return "it is no plain file";
    if (status.size > MOST_BYTES) return "it is too large";
    return decode(readFileSync(fd), owner);
  } catch (error) {
    return String(error);
  } finally {
    closeSync(fd);
  }
}

/** Replaces the file. Another master's checker may do the same meanwhile. Throws as node:fs does. */
export function writeSnapshot(path: string, file: Buffer): void {
  const beside = besideOf(path);
  writeFileSync(beside, file, { mode: 0o600, flush: true });
  renameSync(beside, osPath(path));
}

/** The same beside the event loop. */
export async function writeSnapshotLater(path: string, file: Buffer): Promise<void> {
  const beside = besideOf(path);
  await promises.writeFile(beside, file, { mode: 0o600, flush: true });
  await promises.rename(beside, osPath(path));
}

function besideOf(path: string): string | Buffer {
  return osPath(`${path}.${process.pid}`);
}
