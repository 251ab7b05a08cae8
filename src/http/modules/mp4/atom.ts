/** What is wrong with a file, in nginx's words. */
export class Mp4Error extends Error {}

/** An atom's content, within bytes that are in memory. */
export interface Atom {
  readonly bytes: Buffer;
  /** Its content begins here, behind a header of at least 8 bytes, and ends before `end`. */
  readonly data: number;
  readonly end: number;
}

export interface AtomHeader {
  readonly name: string;
  /** Of the header, and of the whole atom. */
  readonly length: number;
  readonly size: number;
}

const HEADER = 8;
const HEADER_64 = 16;

/**
 * Reads the header of an atom that begins at `at` and may take up to `room` bytes; `file` is named in errors. Undefined
 * for a size of zero, which ends a list of atoms.
 */
export function readHeader(file: string, bytes: Buffer, at: number, room: number): AtomHeader | undefined {
  const need = (length: number): void => {
    if (at + length > bytes.length) throw new Mp4Error(`"${file}" mp4 file truncated`);
  };
  need(4);
  const size = bytes.readUInt32BE(at);
  if (size === 0) return undefined;
  if (size === 1) {
    need(HEADER_64);
    const size64 = bytes.readBigUInt64BE(at + 8);
    if (size64 < HEADER_64) throw new Mp4Error(`"${file}" mp4 atom is too small:${size64}`);
    if (size64 > room) throw new Mp4Error(`"${file}" mp4 atom too large:${size64}`);
    return { name: nameAt(bytes, at), length: HEADER_64, size: Number(size64) };
  }
  if (size < HEADER) throw new Mp4Error(`"${file}" mp4 atom is too small:${size}`);
  need(HEADER);
  if (size > room) throw new Mp4Error(`"${file}" mp4 atom too large:${size}`);
  return { name: nameAt(bytes, at), length: HEADER, size };
}

function nameAt(bytes: Buffer, at: number): string {
  return bytes.latin1Slice(at + 4, at + 8);
}

/** What takes the atoms within another, by name. False: nothing more is to be read of what `T` stands for. */
export type AtomHandlers<T> = Readonly<Record<string, (target: T, atom: Atom) => boolean>>;

/** Has the atoms within another handled one after the other; those without a handler are left out. */
export function readAtoms<T>(file: string, { bytes, data, end }: Atom, handlers: AtomHandlers<T>, target: T): boolean {
  let at = data;
  while (at < end) {
    const header = readHeader(file, bytes, at, end - at);
    if (header === undefined) return true;
    const next = at + header.size;
    if (Object.hasOwn(handlers, header.name)) {
      if (!handlers[header.name](target, { bytes, data: at + header.length, end: next })) return false;
    }
    at = next;
  }
  return true;
}

/** The atom with a header of 8 bytes, in place: what a header of 16 has before that is left out. */
export function wholeAtom({ bytes, data, end }: Atom, name: string): Buffer {
  const whole = bytes.subarray(data - HEADER, end);
  writeHeader(whole, name, whole.length);
  return whole;
}

/** Its header of 8 bytes alone, to be completed by `writeHeader`. */
export function headerOf({ bytes, data }: Atom): Buffer {
  return bytes.subarray(data - HEADER, data);
}

export function writeHeader(header: Buffer, name: string, size: number): void {
  header.writeUInt32BE(size >>> 0);
  header.latin1Write(name, 4, 4);
}
