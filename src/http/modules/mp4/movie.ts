import { type Atom, type AtomHandlers, headerOf, Mp4Error, readAtoms, wholeAtom, writeHeader } from "./atom.ts";
import { cutChunkOffsets, cutStsc, cutStsz, moveChunks } from "./chunks.ts";
import { cutCtts, cutStss, cutStts } from "./samples.ts";
import {
  type Cut,
  duplicate,
  inUnits,
  layoutOf,
  readDuration,
  readTrak,
  shortened,
  type Table,
  Trak,
  writeDuration,
  writeMediaDuration,
} from "./trak.ts";

/** Cuts a part out of a movie, as ngx_http_mp4_module does. */

/** A track has an object of its own: no file needs more. */
const MOST_TRAKS = 1000;

/** What there is of a file besides its data. */
export interface Mp4File {
  /** The atom ftyp whole; undefined without one. */
  readonly ftyp: Buffer | undefined;
  /** The content of moov, and what follows it in the file: at least 16 bytes, if there are as many. It is changed. */
  readonly moov: Buffer;
  readonly moovLength: number;
  /** Where the content of mdat ends in the file; -1 if there is none. */
  readonly dataEnd: number;
}

/** A movie again: bytes in memory, and behind them a section of the file. */
export interface CutMovie {
  readonly prefix: Buffer;
  readonly start: number;
  readonly end: number;
}

/** What is read of moov. */
class Movie {
  readonly cut: Cut;
  timescale = 0;
  mvhd: Buffer | undefined = undefined;
  readonly traks: Trak[] = [];

  constructor(cut: Cut) {
    this.cut = cut;
  }
}

/** Throws Mp4Error. */
export function cutMovie(cut: Cut, { ftyp, moov, moovLength, dataEnd }: Mp4File): CutMovie {
  const { file } = cut;
  const movie = new Movie(cut);
  readAtoms(file, { bytes: moov, data: 0, end: moovLength }, MOOV, movie);
  const { traks } = movie;
  if (traks.length === 0) throw new Mp4Error(`no mp4 trak atoms were found in "${file}"`);
  if (dataEnd < 0) throw new Mp4Error(`no mp4 mdat atom was found in "${file}"`);
  let start = cut.size;
  let end = 0;
  const atoms: Buffer[] = movie.mvhd === undefined ? [] : [movie.mvhd];
  for (const trak of traks) {
    cutTrak(trak, dataEnd);
    start = Math.min(start, trak.startOffset);
    end = Math.max(end, trak.endOffset);
    atoms.push(...trakAtoms(trak));
  }
  if (end <= start) throw new Mp4Error(`no data between start time and end time in "${file}"`);
  if (start >= dataEnd) throw new Mp4Error(`start time is out mp4 mdat atom in "${file}"`);
  const header = Buffer.alloc(8);
  const moovSize = 8 + lengthOf(atoms);
  writeHeader(header, "moov", moovSize);
  const mdat = mdatHeader(end - start);
  const difference = (ftyp?.length ?? 0) + moovSize + mdat.length - start;
  for (const trak of traks) moveChunks(trak, difference);
  return { prefix: Buffer.concat([...(ftyp === undefined ? [] : [ftyp]), header, ...atoms, mdat]), start, end };
}

function lengthOf(buffers: readonly Buffer[]): number {
  return buffers.reduce((sum, { length }) => sum + length, 0);
}

function mdatHeader(length: number): Buffer {
  if (length <= 0xffffffff - 8) {
    const header = Buffer.alloc(8);
    writeHeader(header, "mdat", 8 + length);
    return header;
  }
  const header = Buffer.alloc(16);
  writeHeader(header, "mdat", 1);
  header.writeBigUInt64BE(BigInt(16 + length), 8);
  return header;
}

const MVHD = { length: 100, timescale: 12, duration: 16 };
const MVHD_64 = { length: 112, timescale: 20, duration: 24 };

function readMvhd(movie: Movie, atom: Atom): boolean {
  const { cut } = movie;
  if (movie.mvhd !== undefined) throw duplicate(cut, "mvhd");
  const layout = layoutOf(cut, atom, "mvhd", MVHD, MVHD_64);
  movie.timescale = atom.bytes.readUInt32BE(atom.data + layout.timescale);
  const short = layout === MVHD;
  const left = readDuration(atom, layout.duration, short) - inUnits(cut.start, movie.timescale);
  if (left < 0n) throw new Mp4Error(`"${cut.file}" mp4 start time exceeds file duration`);
  movie.mvhd = wholeAtom(atom, "mvhd");
  writeDuration(movie.mvhd, 8 + layout.duration, short, shortened(cut, left, movie.timescale));
  return true;
}

function addTrak({ cut, timescale, traks }: Movie, atom: Atom): boolean {
  const trak = new Trak(cut, timescale, headerOf(atom));
  if (!readTrak(trak, atom)) return true;
  if (traks.length === MOST_TRAKS) throw new Mp4Error(`too many mp4 trak atoms in "${cut.file}"`);
  traks.push(trak);
  return true;
}

const MOOV: AtomHandlers<Movie> = {
  mvhd: readMvhd,
  trak: addTrak,
  cmov({ cut }) {
    throw new Mp4Error(`"${cut.file}" mp4 compressed moov atom (cmov) is not supported`);
  },
};

/** Each step needs what those before have found. */
function cutTrak(trak: Trak, dataEnd: number): void {
  cutStts(trak);
  cutStss(trak);
  cutCtts(trak);
  cutStsc(trak);
  cutStsz(trak);
  cutChunkOffsets(trak, dataEnd);
  writeMediaDuration(trak);
}

/** The track's atoms in nginx's order, with their sizes. */
function trakAtoms(trak: Trak): Buffer[] {
  const stsc = trak.stsc === undefined ? [] : tableAtoms(trak.stsc, "stsc", trak.stscStart, trak.stscEnd);
  const stbl = [
    ...there(trak.stsd),
    ...tableAtoms(trak.stts, "stts"),
    ...tableAtoms(trak.stss, "stss"),
    ...tableAtoms(trak.ctts, "ctts"),
    ...stsc,
    ...tableAtoms(trak.stsz, "stsz"),
    ...tableAtoms(trak.chunks, trak.wide ? "co64" : "stco"),
  ];
  const minf = [...there(trak.vmhd, trak.smhd, trak.dinf), ...container(trak.stbl, "stbl", stbl)];
  const mdia = [...there(trak.mdhd, trak.hdlr), ...container(trak.minf, "minf", minf)];
  const atoms = [...there(trak.tkhd), ...editList(trak), ...container(trak.mdia, "mdia", mdia)];
  return container(trak.header, "trak", atoms);
}

function there(...atoms: readonly (Buffer | undefined)[]): Buffer[] {
  return atoms.filter((atom) => atom !== undefined);
}

function container(header: Buffer | undefined, name: string, content: readonly Buffer[]): Buffer[] {
  if (header === undefined) return [];
  writeHeader(header, name, 8 + lengthOf(content));
  return [header, ...content];
}

/** `first` and `last`: further entries around those of the table. */
function tableAtoms(table: Table | undefined, name: string, first?: Buffer, last?: Buffer): Buffer[] {
  if (table === undefined) return [];
  const { header, bytes, from, to, entries } = table;
  const content = [...there(first), bytes.subarray(from, to), ...there(last)];
  writeHeader(header, name, header.length + lengthOf(content));
  header.writeUInt32BE(entries, header.length - 4);
  return [header, ...content];
}

/** Has players skip what was put before the start because of mp4_start_key_frame. */
function editList({ prefix, movieDuration }: Trak): Buffer[] {
  if (prefix === 0) return [];
  const atoms = Buffer.alloc(8 + 36);
  writeHeader(atoms, "edts", atoms.length);
  const list = atoms.subarray(8);
  writeHeader(list, "elst", list.length);
  // Version 1, one entry: its duration, where it begins, and at which speed it plays.
  list[8] = 1;
  list.writeUInt32BE(1, 12);
  list.writeBigUInt64BE(movieDuration, 16);
  list.writeBigUInt64BE(BigInt(prefix), 24);
  list.writeUInt16BE(1, 32);
  return [atoms];
}
