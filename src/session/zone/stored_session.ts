import { type HeadText, scanned } from "../../wire/head_text.ts";
import { parseJson } from "./json.ts";
import { isObject, type JsonObject, type Stamps } from "./merge.ts";

/**
 * A session as stores keep it: numbers, then the session's data as the UTF-8 of a JSON object, then the versions of its members as JSON.
 * All numbers are little-endian; times are wall-clock ms.
 */

const FORMAT = 1;
const VERSION = 2;
const CREATED = 8;
const EXPIRES = 14;
const FLOOR = 20;
const LENGTH = 26;
const HEADER = 30;
/** After the format: this id was renewed, and the data are the id that it has now. */
const MOVED = 1;
/** After the format: it is an item of memcached's, which is changed as a whole. */
const ITEM = 2;

export class StoredSession {
  /** The whole record. */
  readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** Grows with each change, also from one session of an id to the next one of that id. */
  get version(): number {
    return this.bytes.readUIntLE(VERSION, 6);
  }

  get created(): number {
    return this.bytes.readUIntLE(CREATED, 6);
  }

  get expires(): number {
    return this.bytes.readUIntLE(EXPIRES, 6);
  }

  /** The id that the session has now, where this one was renewed. */
  get movedTo(): Buffer | undefined {
    return this.bytes[1] === MOVED ? this.data : undefined;
  }

  get isItem(): boolean {
    return this.bytes[1] === ITEM;
  }

  /** UTF-8 of the JSON object. */
  get data(): Buffer {
    return this.bytes.subarray(HEADER, HEADER + this.bytes.readUInt32LE(LENGTH));
  }

  get dataLength(): number {
    return this.bytes.readUInt32LE(LENGTH);
  }

  /** The data in Base64. */
  get text(): HeadText {
    return scanned(this.bytes.toString("base64", HEADER, HEADER + this.dataLength));
  }

  get members(): JsonObject {
    const value = parseJson(this.bytes.toString("utf8", HEADER, HEADER + this.dataLength));
    return isObject(value) ? value : {};
  }

  get stamps(): Stamps {
    const { bytes } = this;
    const at = new Map<string, number>();
    const start = HEADER + this.dataLength;
    if (start < bytes.length) {
      const versions: Readonly<Record<string, number>> = JSON.parse(bytes.toString("utf8", start));
      for (const path of Object.keys(versions)) at.set(path, versions[path]);
    }
    return { floor: bytes.readUIntLE(FLOOR, 6), at };
  }

  /** The same with another end of its life. */
  until(expires: number): StoredSession {
    const bytes = Buffer.from(this.bytes);
    bytes.writeUIntLE(expires, EXPIRES, 6);
    return new StoredSession(bytes);
  }
}

export interface SessionContents {
  readonly version: number;
  readonly created: number;
  readonly expires: number;
  /** The JSON of an object. */
  readonly data: string;
  readonly stamps: Stamps;
  readonly isItem?: boolean;
}

/** `dataLength`: bytes of the data as UTF-8. */
export function makeSession(
  { version, created, expires, data, stamps, isItem }: SessionContents,
  dataLength = Buffer.byteLength(data),
): StoredSession {
  const versions = stampsText(stamps.at);
  const bytes = header({ version, created, expires, floor: stamps.floor }, dataLength, Buffer.byteLength(versions));
  if (isItem === true) bytes[1] = ITEM;
  bytes.write(data, HEADER, "utf8");
  bytes.write(versions, HEADER + dataLength, "utf8");
  return new StoredSession(bytes);
}

/**
 * Records are cut from pieces, since memory of its own for each costs more than what is done with it; from small ones, since a request
 * that lasts for hours keeps the piece. (Buffer.allocUnsafe has pieces of 64 KiB.)
 */
const PIECE = 4096;
let piece = Buffer.allocUnsafeSlow(PIECE);
let cut = 0;

/** Memory for a record, with anything in it. */
export function recordBuffer(length: number): Buffer {
  if (length > PIECE / 2) return Buffer.allocUnsafeSlow(length);
  if (cut + length > PIECE) {
    piece = Buffer.allocUnsafeSlow(PIECE);
    cut = 0;
  }
  const start = cut;
  cut += length;
  return piece.subarray(start, cut);
}

interface Numbers {
  readonly version: number;
  readonly created: number;
  readonly expires: number;
  readonly floor: number;
}

/** A record with room for its data, and for so much more. */
function header({ version, created, expires, floor }: Numbers, dataLength: number, more: number): Buffer {
  const bytes = recordBuffer(HEADER + dataLength + more);
  bytes[0] = FORMAT;
  bytes[1] = 0;
  bytes.writeUIntLE(version, VERSION, 6);
  bytes.writeUIntLE(created, CREATED, 6);
  bytes.writeUIntLE(expires, EXPIRES, 6);
  bytes.writeUIntLE(floor, FLOOR, 6);
  bytes.writeUInt32LE(dataLength, LENGTH);
  return bytes;
}

/** As JSON.stringify would have it of an object. */
function stampsText(at: ReadonlyMap<string, number>): string {
  let text = "";
  for (const [path, version] of at) text += `${text === "" ? "{" : ","}${JSON.stringify(path)}:${version}`;
  return text === "" ? "" : `${text}}`;
}

/** What stays under the old id for a while when a session was renewed. */
export function movedSession(to: Buffer, version: number, expires: number): StoredSession {
  const bytes = header({ version, created: expires, expires, floor: version }, to.length, 0);
  bytes[1] = MOVED;
  to.copy(bytes, HEADER);
  return new StoredSession(bytes);
}

/** Reads what a store had. Undefined for what is none of ours, or of another version of this format. */
export function readSession(bytes: Buffer | undefined): StoredSession | undefined {
  if (bytes === undefined || bytes.length < HEADER || bytes[0] !== FORMAT) return undefined;
  return bytes.readUInt32LE(LENGTH) > bytes.length - HEADER ? undefined : new StoredSession(bytes);
}
