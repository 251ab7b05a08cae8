import { Mp4Error } from "./atom.ts";
import { inUnits, type Table, type Trak } from "./trak.ts";

/**
 * Finds the samples between start and end in stts, and cuts the tables of samples: stts, stss, ctts. Tables that have
 * run-length entries get their first and last entries changed; what is outside is left out by moving `from` and `to`.
 */

const ENTRY = 8;

/** How many samples last how long: finds the first sample and the last, and cuts the table. */
export function cutStts(trak: Trak): void {
  const { stts, cut } = trak;
  if (stts === undefined) throw new Mp4Error(`no mp4 stts atoms were found in "${cut.file}"`);
  cutSttsStart(trak, stts);
  if (cut.length !== 0n) cutSttsEnd(trak, stts);
}

/** The entry that a time falls into. */
interface Place {
  readonly at: number;
  /** How many entries there are from this one on. */
  readonly entries: number;
  /** Samples before the time: in the table, and in this entry. */
  readonly samples: number;
  readonly rest: number;
}

/** The number of samples, if the time is behind them all. */
function findTime({ bytes, from, to, entries }: Table, time: number): Place | number {
  let left = time;
  let samples = 0;
  let remaining = entries;
  for (let at = from; at < to; at += ENTRY) {
    const count = bytes.readUInt32BE(at);
    const duration = bytes.readUInt32BE(at + 4);
    if (left < count * duration) {
      const rest = (left - (left % duration)) / duration;
      return { at, entries: remaining, samples: samples + rest, rest };
    }
    samples += count;
    left -= count * duration;
    remaining--;
  }
  return samples;
}

function cutSttsStart(trak: Trak, stts: Table): void {
  const { cut } = trak;
  const { bytes } = stts;
  const place = findTime(stts, Number(inUnits(cut.start, trak.timescale)));
  if (typeof place === "number") throw new Mp4Error(`start time is out mp4 stts samples in "${cut.file}"`);
  let { at, entries, rest } = place;
  let key = keyFramePrefix(trak, place.samples);
  trak.startSample = place.samples - key;
  let count = bytes.readUInt32BE(at);
  let duration = bytes.readUInt32BE(at + 4);
  while (rest < key) {
    trak.prefix += Math.imul(rest, duration) >>> 0;
    key -= rest;
    at -= ENTRY;
    entries++;
    count = bytes.readUInt32BE(at);
    duration = bytes.readUInt32BE(at + 4);
    rest = count;
  }
  trak.prefix += Math.imul(key, duration) >>> 0;
  trak.duration += BigInt(trak.prefix);
  bytes.writeUInt32BE(count - (rest - key), at);
  stts.from = at;
  stts.entries = entries;
}

function cutSttsEnd(trak: Trak, stts: Table): void {
  const time = Number(inUnits(trak.cut.length, trak.timescale)) + trak.prefix;
  const place = findTime(stts, time);
  if (typeof place === "number") {
    trak.endSample = trak.startSample + place;
    return;
  }
  stts.bytes.writeUInt32BE(place.rest, place.at);
  stts.to = place.at + ENTRY;
  stts.entries -= place.entries - 1;
  trak.endSample = trak.startSample + place.samples;
}

/** How many samples there are from the last key frame up to a sample (mp4_start_key_frame). */
function keyFramePrefix({ cut, stss }: Trak, sample: number): number {
  if (!cut.fromKeyFrame || stss === undefined) return 0;
  // Numbers in stss begin at 1.
  const wanted = (sample + 1) >>> 0;
  let prefix = 0;
  for (let at = stss.from; at < stss.to; at += 4) {
    const key = stss.bytes.readUInt32BE(at);
    if (key === 0) throw new Mp4Error(`zero sync sample in "${cut.file}"`);
    if (key > wanted) break;
    prefix = wanted - key;
  }
  return prefix;
}

/** The numbers of key frames, which begin at 1. */
export function cutStss({ cut, stss, startSample, endSample }: Trak): void {
  if (stss === undefined) return;
  const { bytes } = stss;
  stss.from = firstFrom(stss, (startSample + 1) >>> 0);
  if (cut.length !== 0n) stss.to = firstFrom(stss, (endSample + 1) >>> 0);
  stss.entries = (stss.to - stss.from) / 4;
  for (let at = stss.from; at < stss.to; at += 4) {
    bytes.writeUInt32BE((bytes.readUInt32BE(at) - startSample) >>> 0, at);
  }
}

/** Where the first entry is that is not below `sample`. */
function firstFrom({ bytes, from, to }: Table, sample: number): number {
  let at = from;
  while (at < to && bytes.readUInt32BE(at) < sample) at += 4;
  return at;
}

/** How many samples have which offset from decoding to composition. Without any left the atom is left out. */
export function cutCtts(trak: Trak): void {
  const { cut, ctts, startSample, endSample } = trak;
  if (ctts === undefined) return;
  const { bytes } = ctts;
  const start = findSample(ctts, (startSample + 1) >>> 0);
  if (start === undefined) {
    trak.ctts = undefined;
    return;
  }
  bytes.writeUInt32BE((bytes.readUInt32BE(start.at) - start.rest) >>> 0, start.at);
  ctts.from = start.at;
  ctts.entries = start.entries;
  if (cut.length === 0n) return;
  const end = findSample(ctts, (endSample - startSample + 1) >>> 0);
  if (end === undefined) return;
  bytes.writeUInt32BE(end.rest, end.at);
  ctts.to = end.at + ENTRY;
  ctts.entries -= end.entries - 1;
}

/** The entry with a sample, whose number begins at 1, and how many samples precede that in the entry. */
function findSample({ bytes, from, to, entries }: Table, sample: number): Omit<Place, "samples"> | undefined {
  let left = sample;
  let remaining = entries;
  for (let at = from; at < to; at += ENTRY) {
    const count = bytes.readUInt32BE(at);
    if (left <= count) return { at, entries: remaining, rest: (left - 1) >>> 0 };
    left -= count;
    remaining--;
  }
  return undefined;
}
