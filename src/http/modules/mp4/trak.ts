import { type Atom, type AtomHandlers, headerOf, Mp4Error, readAtoms, wholeAtom } from "./atom.ts";

/** Which part of a movie is wanted. */
export interface Cut {
  /** Of the file, for errors: a byte string. */
  readonly file: string;
  /** The file's length. */
  readonly size: number;
  /** Milliseconds, below 2^63. A length of 0 goes to the end. */
  readonly start: bigint;
  readonly length: bigint;
  /** Begin at the key frame before `start`, and have players skip what precedes it. */
  readonly fromKeyFrame: boolean;
}

/** A table of samples or chunks: entries of equal length, in place within the file's bytes. */
export interface Table {
  /** Of the atom, with the number of entries in its last 4 bytes. */
  readonly header: Buffer;
  readonly bytes: Buffer;
  /** Where the entries that stay begin, and end. */
  from: number;
  to: number;
  /** How many there are, as the atom will say. */
  entries: number;
}

/** A track while its tables are cut. Numbers of samples and chunks count from 0. */
export class Trak {
  readonly cut: Cut;
  /** The movie's units a second, and the track's own. */
  readonly movieTimescale: number;
  timescale = 0;
  /** What is left of its duration: in the movie's units, and its own. */
  movieDuration = 0n;
  duration = 0n;
  /** What precedes the start since the key frame, in the track's units. */
  prefix = 0;

  startSample = 0;
  endSample = 0;
  startChunk = 0;
  endChunk = 0;
  /** How many samples of the first chunk are left out, and how many the last one has; and their sizes. */
  startChunkSamples = 0;
  endChunkSamples = 0;
  startChunkSamplesSize = 0;
  endChunkSamplesSize = 0;
  /** Its data in the file. */
  startOffset = 0;
  endOffset = 0;

  readonly header: Buffer;
  tkhd: Buffer | undefined = undefined;
  mdia: Buffer | undefined = undefined;
  mdhd: Buffer | undefined = undefined;
  hdlr: Buffer | undefined = undefined;
  minf: Buffer | undefined = undefined;
  vmhd: Buffer | undefined = undefined;
  smhd: Buffer | undefined = undefined;
  dinf: Buffer | undefined = undefined;
  stbl: Buffer | undefined = undefined;
  stsd: Buffer | undefined = undefined;
  stts: Table | undefined = undefined;
  stss: Table | undefined = undefined;
  ctts: Table | undefined = undefined;
  stsc: Table | undefined = undefined;
  /** Entries of stsc for a first chunk that loses samples at its start, and a last one that does at its end. */
  stscStart: Buffer | undefined = undefined;
  stscEnd: Buffer | undefined = undefined;
  stsz: Table | undefined = undefined;
  /** All samples have the same size: stsz has no entries. */
  uniform = false;
  /** stco, or co64 whose entries have 8 bytes. */
  chunks: Table | undefined = undefined;
  wide = false;

  constructor(cut: Cut, movieTimescale: number, header: Buffer) {
    this.cut = cut;
    this.movieTimescale = movieTimescale;
    this.header = header;
  }
}

/** Milliseconds in units of a timescale, of 64 bits. */
export function inUnits(milliseconds: bigint, timescale: number): bigint {
  return BigInt.asUintN(64, milliseconds * BigInt(timescale)) / 1000n;
}

/** What of the time behind the start is wanted. */
export function shortened({ length }: Cut, left: bigint, timescale: number): bigint {
  if (length === 0n) return left;
  const most = inUnits(length, timescale);
  return left > most ? most : left;
}

function tooSmall({ file }: Cut, name: string): Mp4Error {
  return new Mp4Error(`"${file}" mp4 ${name} atom too small`);
}

export function duplicate({ file }: Cut, name: string): Mp4Error {
  return new Mp4Error(`duplicate mp4 ${name} atom in "${file}"`);
}

/** Reads a track. False if it ends before the start, and is left out. */
export function readTrak(trak: Trak, atom: Atom): boolean {
  return readAtoms(trak.cut.file, atom, TRAK, trak);
}

/** Positions within the content of tkhd and mdhd: the shortest such atom, and the duration. */
interface Layout {
  readonly length: number;
  readonly timescale: number;
  readonly duration: number;
}

const TKHD: Layout = { length: 84, timescale: -1, duration: 20 };
const TKHD_64: Layout = { length: 96, timescale: -1, duration: 28 };
const MDHD: Layout = { length: 24, timescale: 12, duration: 16 };
const MDHD_64: Layout = { length: 36, timescale: 20, duration: 24 };

/** The layout of an atom whose version, its first byte, says how long durations are. */
export function layoutOf<L extends { readonly length: number }>(
  cut: Cut,
  { bytes, data, end }: Atom,
  name: string,
  short: L,
  long: L,
): L {
  if (end - data < short.length) throw tooSmall(cut, name);
  if (bytes[data] === 0) return short;
  if (end - data < long.length) throw tooSmall(cut, name);
  return long;
}

function readTkhd(trak: Trak, atom: Atom): boolean {
  const { cut } = trak;
  const layout = layoutOf(cut, atom, "tkhd", TKHD, TKHD_64);
  const duration = readDuration(atom, layout.duration, layout === TKHD);
  const left = duration - inUnits(cut.start, trak.movieTimescale);
  if (left <= 0n) return false;
  if (trak.tkhd !== undefined) throw duplicate(cut, "tkhd");
  trak.movieDuration = shortened(cut, left, trak.movieTimescale);
  trak.tkhd = wholeAtom(atom, "tkhd");
  writeDuration(trak.tkhd, 8 + layout.duration, layout === TKHD, trak.movieDuration);
  return true;
}

function readMdhd(trak: Trak, atom: Atom): boolean {
  const { cut } = trak;
  const layout = layoutOf(cut, atom, "mdhd", MDHD, MDHD_64);
  const timescale = atom.bytes.readUInt32BE(atom.data + layout.timescale);
  const duration = readDuration(atom, layout.duration, layout === MDHD);
  const left = duration - inUnits(cut.start, timescale);
  if (left <= 0n) return false;
  if (trak.mdhd !== undefined) throw duplicate(cut, "mdhd");
  trak.timescale = timescale;
  trak.duration = shortened(cut, left, timescale);
  trak.mdhd = wholeAtom(atom, "mdhd");
  return true;
}

/** The duration in mdhd, which may have become longer by what precedes the start. */
export function writeMediaDuration({ mdhd, duration }: Trak): void {
  if (mdhd === undefined) return;
  const short = mdhd[8] === 0;
  writeDuration(mdhd, 8 + (short ? MDHD : MDHD_64).duration, short, duration);
}

export function readDuration({ bytes, data }: Atom, at: number, short: boolean): bigint {
  return short ? BigInt(bytes.readUInt32BE(data + at)) : bytes.readBigUInt64BE(data + at);
}

/** Writes as many bits as there are. */
export function writeDuration(bytes: Buffer, at: number, short: boolean, duration: bigint): void {
  if (short) bytes.writeUInt32BE(Number(BigInt.asUintN(32, duration)), at);
  else bytes.writeBigUInt64BE(BigInt.asUintN(64, duration), at);
}

type Container = "mdia" | "minf" | "stbl";
type Kept = "hdlr" | "vmhd" | "smhd" | "dinf" | "stsd";

function container(name: Container, handlers: AtomHandlers<Trak>): (trak: Trak, atom: Atom) => boolean {
  return (trak, atom) => {
    if (trak[name] !== undefined) throw duplicate(trak.cut, name);
    trak[name] = headerOf(atom);
    return readAtoms(trak.cut.file, atom, handlers, trak);
  };
}

/** An atom that stays as it is. */
function kept(name: Kept, least = 0): (trak: Trak, atom: Atom) => boolean {
  return (trak, atom) => {
    if (atom.end - atom.data < least) throw tooSmall(trak.cut, name);
    const media = name === "vmhd" || name === "smhd";
    if (media && (trak.vmhd !== undefined || trak.smhd !== undefined)) throw duplicate(trak.cut, "vmhd/smhd");
    if (trak[name] !== undefined) throw duplicate(trak.cut, name);
    trak[name] = wholeAtom(atom, name);
    return true;
  };
}

/** `fields`: the bytes of content before the entries; the last four are their number. */
function readTable(trak: Trak, atom: Atom, name: string, fields: number, entryLength: number): Table {
  const { bytes, data, end } = atom;
  if (end - data < fields) throw tooSmall(trak.cut, name);
  const from = data + fields;
  const entries = bytes.readUInt32BE(from - 4);
  const to = from + entries * entryLength;
  if (to > end) throw tooSmall(trak.cut, name);
  const header = bytes.subarray(data - 8, from);
  header.latin1Write(name, 4, 4);
  return { header, bytes, from, to, entries };
}

function table(name: "stts" | "stss" | "ctts" | "stsc", entryLength: number): (trak: Trak, atom: Atom) => boolean {
  return (trak, atom) => {
    const read = readTable(trak, atom, name, 8, entryLength);
    if (trak[name] !== undefined) throw duplicate(trak.cut, name);
    trak[name] = read;
    return true;
  };
}

function readStsz(trak: Trak, atom: Atom): boolean {
  if (atom.end - atom.data < 12) throw tooSmall(trak.cut, "stsz");
  const uniform = atom.bytes.readUInt32BE(atom.data + 4) !== 0;
  const read = readTable(trak, atom, "stsz", 12, uniform ? 0 : 4);
  if (trak.stsz !== undefined) throw duplicate(trak.cut, "stsz");
  trak.stsz = read;
  trak.uniform = uniform;
  return true;
}

function chunkOffsets(name: "stco" | "co64"): (trak: Trak, atom: Atom) => boolean {
  const wide = name === "co64";
  return (trak, atom) => {
    const read = readTable(trak, atom, name, 8, wide ? 8 : 4);
    if (trak.chunks !== undefined) throw duplicate(trak.cut, "stco/co64");
    trak.chunks = read;
    trak.wide = wide;
    return true;
  };
}

const STBL: AtomHandlers<Trak> = {
  stsd: kept("stsd", 16),
  stts: table("stts", 8),
  stss: table("stss", 4),
  ctts: table("ctts", 8),
  stsc: table("stsc", 12),
  stsz: readStsz,
  stco: chunkOffsets("stco"),
  co64: chunkOffsets("co64"),
};
const MINF: AtomHandlers<Trak> = {
  vmhd: kept("vmhd"),
  smhd: kept("smhd"),
  dinf: kept("dinf"),
  stbl: container("stbl", STBL),
};
const MDIA: AtomHandlers<Trak> = { mdhd: readMdhd, hdlr: kept("hdlr"), minf: container("minf", MINF) };
const TRAK: AtomHandlers<Trak> = { tkhd: readTkhd, mdia: container("mdia", MDIA) };
