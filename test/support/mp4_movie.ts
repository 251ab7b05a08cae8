/** Small movies, made of tables alone: what is in them is no picture, but says which sample it belongs to. */

export interface TrackShape {
  /** Units a second. */
  readonly timescale: number;
  /** How many samples. */
  readonly samples: number;
  /** In units, of a sample by its number. */
  readonly duration: (sample: number) => number;
  readonly size: (sample: number) => number;
  /** Samples in a chunk, by its number. */
  readonly perChunk: (chunk: number) => number;
  /** Every so many samples there is a key frame; without, all are (no stss). */
  readonly keyEvery?: number;
  /** Composition offsets (ctts). */
  readonly offset?: (sample: number) => number;
  /** co64, and durations of 64 bits. */
  readonly wide?: boolean;
  /** All samples have the size of the first: stsz has no table. */
  readonly uniform?: boolean;
}

export interface MovieShape {
  readonly tracks: readonly TrackShape[];
  /** mdat comes before moov. */
  readonly dataFirst?: boolean;
  /** Atoms whose headers have sizes of 64 bits: by name. */
  readonly longHeaders?: readonly string[];
}

const u32 = (...values: readonly number[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => void bytes.writeUInt32BE(value, i * 4));
  return bytes;
};
const u64 = (value: number): Buffer => u32(Math.floor(value / 2 ** 32), value % 2 ** 32);

/** A movie, the same for the same shape. */
export function movie({ tracks, dataFirst = false, longHeaders = [] }: MovieShape): Buffer {
  const atom = (name: string, ...content: readonly Buffer[]): Buffer => {
    const length = content.reduce((sum, part) => sum + part.length, 0);
    const tag = Buffer.from(name, "latin1");
    const header = longHeaders.includes(name)
      ? Buffer.concat([u32(1), tag, u64(16 + length)])
      : Buffer.concat([u32(8 + length), tag]);
    return Buffer.concat([header, ...content]);
  };
  const ftyp = atom("ftyp", Buffer.from("isom\0\0\x02\0isomiso2avc1mp41", "latin1"));
  const free = atom("free", Buffer.alloc(5));

  // Chunks of all tracks take turns.
  const chunks = tracks.map((track) => chunksOf(track));
  const data: Buffer[] = [];
  const places: number[][] = tracks.map(() => []);
  let length = 0;
  for (let turn = 0; chunks.some((list) => turn < list.length); turn++) {
    chunks.forEach((list, i) => {
      if (turn >= list.length) return;
      places[i].push(length);
      data.push(list[turn].bytes);
      length += list[turn].bytes.length;
    });
  }
  const mdat = atom("mdat", ...data);

  const moov = (base: number): Buffer =>
    atom(
      "moov",
      atom(
        "mvhd",
        headOf(
          1000,
          longest(tracks),
          tracks.some(({ wide }) => wide),
          80,
        ),
      ),
      ...tracks.map((track, i) =>
        trak(
          atom,
          track,
          chunks[i],
          places[i].map((place) => base + place),
        ),
      ),
      atom("udta", Buffer.from("some text")),
    );
  const headLength = mdat.length - length;
  if (dataFirst) return Buffer.concat([ftyp, free, mdat, moov(ftyp.length + free.length + headLength)]);
  const before = ftyp.length + moov(0).length + free.length + headLength;
  return Buffer.concat([ftyp, moov(before), free, mdat]);
}

interface Chunk {
  readonly samples: number;
  readonly bytes: Buffer;
}

function chunksOf({ samples, size, perChunk }: TrackShape): Chunk[] {
  const chunks: Chunk[] = [];
  for (let first = 0; first < samples; ) {
    const count = Math.min(perChunk(chunks.length), samples - first);
    const parts = Array.from({ length: count }, (_, i) => Buffer.alloc(size(first + i), `${first + i}.`));
    chunks.push({ samples: count, bytes: Buffer.concat(parts) });
    first += count;
  }
  return chunks;
}

/** In milliseconds. */
function longest(tracks: readonly TrackShape[]): number {
  return Math.max(...tracks.map((track) => Math.floor((durationOf(track) * 1000) / track.timescale)));
}

function durationOf({ samples, duration }: TrackShape): number {
  let sum = 0;
  for (let i = 0; i < samples; i++) sum += duration(i);
  return sum;
}

/** What mvhd and mdhd begin with: version, flags, times, timescale, duration; and as many bytes behind that. */
function headOf(timescale: number, duration: number, wide = false, rest = 4): Buffer {
  const head = wide ? [u32(0x01000000, 0, 0, 0, 0, timescale), u64(duration)] : [u32(0, 0, 0, timescale, duration)];
  return Buffer.concat([...head, Buffer.alloc(rest, 7)]);
}

type MakeAtom = (name: string, ...content: readonly Buffer[]) => Buffer;

function trak(atom: MakeAtom, track: TrackShape, chunks: readonly Chunk[], places: readonly number[]): Buffer {
  const { wide = false, timescale } = track;
  const milliseconds = Math.floor((durationOf(track) * 1000) / timescale);
  const tkhd = wide
    ? Buffer.concat([u32(0x01000007, 0, 0, 0, 0, 1, 0), u64(milliseconds), Buffer.alloc(60, 3)])
    : Buffer.concat([u32(7, 0, 0, 1, 0, milliseconds), Buffer.alloc(60, 3)]);
  const stbl = atom("stbl", atom("stsd", u32(0, 1, 16), Buffer.from("avc1")), ...tables(atom, track, chunks, places));
  const media = wide ? atom("smhd", u32(0, 0)) : atom("vmhd", u32(1, 0, 0));
  return atom(
    "trak",
    atom("tkhd", tkhd),
    atom(
      "mdia",
      atom("mdhd", headOf(timescale, durationOf(track), wide)),
      atom("hdlr", u32(0, 0), Buffer.from("vide"), Buffer.alloc(13)),
      atom("minf", media, atom("dinf", Buffer.from("data")), stbl),
    ),
  );
}

function tables(atom: MakeAtom, track: TrackShape, chunks: readonly Chunk[], places: readonly number[]): Buffer[] {
  const { samples, duration, size, keyEvery, offset, wide = false, uniform = false } = track;
  const all = Array.from({ length: samples }, (_, i) => i);
  const keys = keyEvery === undefined ? [] : all.filter((i) => i % keyEvery === 0).map((i) => i + 1);
  const runs: number[] = [];
  chunks.forEach((chunk, i) => {
    if (i === 0 || chunks[i - 1].samples !== chunk.samples) runs.push(i + 1, chunk.samples, 1);
  });
  const counted = (of: (sample: number) => number): Buffer => {
    const entries: number[] = [];
    for (const i of all) {
      if (entries.length > 0 && entries[entries.length - 1] === of(i)) entries[entries.length - 2]++;
      else entries.push(1, of(i));
    }
    return u32(0, entries.length / 2, ...entries);
  };
  const offsets = wide ? Buffer.concat(places.map((place) => u64(place))) : u32(...places);
  return [
    atom("stts", counted(duration)),
    ...(keyEvery === undefined ? [] : [atom("stss", u32(0, keys.length, ...keys))]),
    ...(offset === undefined ? [] : [atom("ctts", counted(offset))]),
    atom("stsc", u32(0, runs.length / 3, ...runs)),
    uniform ? atom("stsz", u32(0, size(0), samples)) : atom("stsz", u32(0, 0, samples, ...all.map((i) => size(i)))),
    atom(wide ? "co64" : "stco", u32(0, places.length), offsets),
  ];
}
