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

  get members(): JsonObject {
    const value = parseJson(this.data.toString("utf8"));
    return isObject(value) ? value : {};
  }

  get stamps(): Stamps {
    const floor = this.bytes.readUIntLE(FLOOR, 6);
    const text = this.bytes.toString("utf8", HEADER + this.bytes.readUInt32LE(LENGTH));
    return { floor, at: new Map(text === "" ? [] : Object.entries<number>(JSON.parse(text))) };
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
  readonly data: Buffer;
  readonly stamps: Stamps;
  readonly isItem?: boolean;
}

export function makeSession({ version, created, expires, data, stamps, isItem }: SessionContents): StoredSession {
  const text = stamps.at.size === 0 ? "" : JSON.stringify(Object.fromEntries(stamps.at));
  const bytes = Buffer.alloc(HEADER + data.length + Buffer.byteLength(text));
  bytes[0] = FORMAT;
  if (isItem === true) bytes[1] = ITEM;
  bytes.writeUIntLE(version, VERSION, 6);
  bytes.writeUIntLE(created, CREATED, 6);
  bytes.writeUIntLE(expires, EXPIRES, 6);
  bytes.writeUIntLE(stamps.floor, FLOOR, 6);
  bytes.writeUInt32LE(data.length, LENGTH);
  data.copy(bytes, HEADER);
  bytes.write(text, HEADER + data.length, "utf8");
  return new StoredSession(bytes);
}

/** What stays under the old id for a while when a session was renewed. */
export function movedSession(to: Buffer, version: number, expires: number): StoredSession {
  const stamps = { floor: version, at: new Map<string, number>() };
  const { bytes } = makeSession({ version, created: expires, expires, data: to, stamps });
  bytes[1] = MOVED;
  return new StoredSession(bytes);
}

/** Reads what a store had. Undefined for what is none of ours, or of another version of this format. */
export function readSession(bytes: Buffer | undefined): StoredSession | undefined {
  if (bytes === undefined || bytes.length < HEADER || bytes[0] !== FORMAT) return undefined;
  return bytes.readUInt32LE(LENGTH) > bytes.length - HEADER ? undefined : new StoredSession(bytes);
}
