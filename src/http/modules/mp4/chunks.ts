import { Mp4Error } from "./atom.ts";
import type { Table, Trak } from "./trak.ts";

/** Finds the chunks between start and end in stsc, and cuts the tables of chunks and of sizes: stsc, stsz, stco, co64. */

/** An entry of stsc: the first chunk (from 1) that has so many samples, and their description. */
const ENTRY = 12;

export function cutStsc(trak: Trak): void {
  const { stsc, cut } = trak;
  if (stsc === undefined) throw new Mp4Error(`no mp4 stsc atoms were found in "${cut.file}"`);
  if (stsc.entries === 0) throw new Mp4Error(`zero number of entries in stsc atom in "${cut.file}"`);
  cutStscStart(trak, stsc);
  if (cut.length !== 0n) cutStscEnd(trak, stsc);
  const { bytes } = stsc;
  for (let at = stsc.from; at < stsc.to; at += ENTRY) {
    bytes.writeUInt32BE((bytes.readUInt32BE(at) - trak.startChunk) >>> 0, at);
  }
}

/** The chunk that a sample is in. */
interface Place {
  /** Its entry, and how many there are from that one on. */
  readonly at: number;
  readonly entries: number;
  /** The entry's first chunk, and the next entry's, as they are numbered in the table. */
  readonly chunk: number;
  readonly next: number;
  /** Samples in each chunk of the entry, and of the entry before. */
  readonly samples: number;
  readonly previous: number;
  readonly id: number;
  /** Samples before the wanted one in the entry. */
  readonly sample: number;
  /** The chunk, from 0, and samples before the wanted one in it. */
  readonly target: number;
  readonly before: number;
}

function findChunk({ cut, chunks }: Trak, stsc: Table, wanted: number, remaining: number, what: string): Place {
  const { bytes, to } = stsc;
  const { file } = cut;
  const total = chunks?.entries ?? 0;
  let at = stsc.from;
  let entries = remaining;
  let sample = wanted;
  let previous = 0;
  for (;;) {
    const chunk = bytes.readUInt32BE(at);
    const samples = bytes.readUInt32BE(at + 4);
    const last = at + ENTRY >= to;
    const next = last ? total + 1 : bytes.readUInt32BE(at + ENTRY);
    if (next < chunk) throw new Mp4Error(`unordered mp4 stsc chunks in "${file}"`);
    const all = (next - chunk) * samples;
    if (!last && sample >= all) {
      sample -= all;
      if (next > chunk) previous = samples;
      entries--;
      at += ENTRY;
      continue;
    }
    if (sample > all) throw new Mp4Error(`${what} time is out mp4 stsc chunks in "${file}"`);
    if (samples === 0) throw new Mp4Error(`zero number of samples in "${file}"`);
    if (chunk === 0) throw new Mp4Error(`zero chunk in "${file}"`);
    const before = sample % samples;
    const target = chunk - 1 + (sample - before) / samples;
    return { at, entries, chunk, next, samples, previous, id: bytes.readUInt32BE(at + 8), sample, target, before };
  }
}

function cutStscStart(trak: Trak, stsc: Table): void {
  const { at, entries, next, samples, id, target, before } = findChunk(
    trak,
    stsc,
    trak.startSample >>> 0,
    stsc.entries,
    "start",
  );
  const { bytes } = stsc;
  stsc.from = at;
  stsc.entries = entries;
  trak.startChunk = target;
  trak.startChunkSamples = before;
  bytes.writeUInt32BE((target + 1) >>> 0, at);
  if (before === 0) return;
  if (next - target === 2) {
    // The entry has no other chunk than this one.
    bytes.writeUInt32BE(samples - before, at + 4);
    return;
  }
  trak.stscStart = stscEntry(1, samples - before, id);
  bytes.writeUInt32BE((target + 2) >>> 0, at);
  stsc.entries++;
}

function cutStscEnd(trak: Trak, stsc: Table): void {
  const { stscStart } = trak;
  const { bytes } = stsc;
  let wanted = (trak.endSample - trak.startSample) >>> 0;
  let remaining = stsc.entries;
  if (stscStart !== undefined) {
    remaining--;
    const samples = Math.min(stscStart.readUInt32BE(4), wanted);
    stscStart.writeUInt32BE(samples, 4);
    wanted -= samples;
  }
  const { at, entries, chunk, samples, previous, id, sample, target, before } = findChunk(
    trak,
    stsc,
    wanted,
    remaining,
    "end",
  );
  stsc.to = sample > 0 ? at + ENTRY : at;
  stsc.entries -= sample > 0 ? entries - 1 : entries;
  trak.endChunkSamples = before > 0 ? before : sample > 0 ? samples : previous;
  trak.endChunk = before > 0 ? target + 1 : target;
  if (before === 0) return;
  if (chunk + 1 - target === 2) {
    bytes.writeUInt32BE(before, at + 4);
    return;
  }
  trak.stscEnd = stscEntry(trak.endChunk - trak.startChunk, before, id);
  stsc.entries++;
}

function stscEntry(chunk: number, samples: number, id: number): Buffer {
  const entry = Buffer.alloc(ENTRY);
  entry.writeUInt32BE(chunk >>> 0);
  entry.writeUInt32BE(samples, 4);
  entry.writeUInt32BE(id, 8);
  return entry;
}

/** The size of each sample; those in the first and last chunk say how much of these stays. */
export function cutStsz(trak: Trak): void {
  const { stsz, cut, startSample, endSample } = trak;
  if (stsz === undefined || trak.uniform) return;
  const { file, size } = cut;
  const first = stsz.from;
  if (startSample >= stsz.entries) throw new Mp4Error(`start time is out mp4 stsz samples in "${file}"`);
  stsz.entries -= startSample;
  stsz.from += startSample * 4;
  trak.startChunkSamplesSize = sizeBefore(stsz, first, stsz.from, trak.startChunkSamples);
  if (trak.startChunkSamplesSize > size) throw new Mp4Error(`too large mp4 start samples size in "${file}"`);
  if (cut.length === 0n) return;
  if (endSample - startSample > stsz.entries) throw new Mp4Error(`end time is out mp4 stsz samples in "${file}"`);
  stsz.entries = endSample - startSample;
  stsz.to = stsz.from + stsz.entries * 4;
  trak.endChunkSamplesSize = sizeBefore(stsz, first, stsz.to, trak.endChunkSamples);
  if (trak.endChunkSamplesSize > size) throw new Mp4Error(`too large mp4 end samples size in "${file}"`);
}

/** The sum of so many sizes before `end`; more than any file has if the table, which begins at `first`, has fewer. */
function sizeBefore({ bytes }: Table, first: number, end: number, count: number): number {
  let at = end - count * 4;
  if (at < first) return Number.POSITIVE_INFINITY;
  let sum = 0;
  for (; at < end; at += 4) sum += bytes.readUInt32BE(at);
  return sum;
}

const WORD = 2 ** 32;

/** Where each chunk is: finds the data between start and end. `dataEnd`: where mdat ends. */
export function cutChunkOffsets(trak: Trak, dataEnd: number): void {
  const { chunks, cut, wide } = trak;
  const { file, size } = cut;
  if (chunks === undefined) throw new Mp4Error(`no mp4 stco atoms were found in "${file}"`);
  const name = wide ? "co64" : "stco";
  const length = wide ? 8 : 4;
  const { bytes } = chunks;
  const total = chunks.entries;

  const behind = (at: number, samplesSize: number): number => {
    const offset = wide ? bytes.readUInt32BE(at) * WORD + bytes.readUInt32BE(at + 4) : bytes.readUInt32BE(at);
    const place = offset + samplesSize;
    if (place > size || (!wide && place >= WORD)) throw new Mp4Error(`too large chunk offset in "${file}"`);
    return place;
  };

  if (trak.startChunk >= total) throw new Mp4Error(`start time is out mp4 ${name} chunks in "${file}"`);
  chunks.from += trak.startChunk * length;
  trak.startOffset = behind(chunks.from, trak.startChunkSamplesSize);
  if (wide) bytes.writeBigUInt64BE(BigInt(trak.startOffset), chunks.from);
  else bytes.writeUInt32BE(trak.startOffset, chunks.from);

  if (cut.length === 0n) {
    chunks.entries = total - trak.startChunk;
    trak.endOffset = dataEnd;
    return;
  }
  if (trak.endChunk > total) throw new Mp4Error(`end time is out mp4 ${name} chunks in "${file}"`);
  chunks.entries = trak.endChunk - trak.startChunk;
  chunks.to = chunks.from + chunks.entries * length;
  if (chunks.entries > 0) {
    trak.endOffset = behind(chunks.to - length, trak.endChunkSamplesSize);
  } else {
    trak.startOffset = size;
    trak.endOffset = 0;
  }
}

/** Moves all offsets by a difference, modulo their width. */
export function moveChunks({ chunks, wide }: Trak, difference: number): void {
  if (chunks === undefined) return;
  const { bytes, to } = chunks;
  const low = difference >>> 0;
  const high = Math.floor(difference / WORD);
  for (let at = chunks.from; at < to; at += wide ? 8 : 4) {
    const lowAt = wide ? at + 4 : at;
    const sum = bytes.readUInt32BE(lowAt) + low;
    bytes.writeUInt32BE(sum >>> 0, lowAt);
    if (wide) bytes.writeUInt32BE((bytes.readUInt32BE(at) + high + (sum >= WORD ? 1 : 0)) >>> 0, at);
  }
}
