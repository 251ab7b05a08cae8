import assert from "node:assert/strict";
import { test } from "node:test";
import { Mp4Error } from "../../../../src/http/modules/mp4/atom.ts";
import { type CutMovie, cutMovie } from "../../../../src/http/modules/mp4/movie.ts";
import { type MovieShape, movie, type TrackShape } from "../../../support/mp4_movie.ts";
import { Chance } from "../../../support/mutations.ts";

const VIDEO: TrackShape = {
  timescale: 1000,
  samples: 40,
  duration: (i) => (i < 20 ? 40 : 50),
  size: (i) => 8 + (i % 3),
  perChunk: (chunk) => 1 + (chunk % 3),
  keyEvery: 7,
  offset: (i) => (i % 2) * 40,
};
const SHAPES: readonly MovieShape[] = [
  { tracks: [VIDEO] },
  {
    tracks: [
      { ...VIDEO, wide: true },
      { ...VIDEO, keyEvery: undefined, uniform: true },
    ],
  },
];

/** The atom moov of a movie where it stands behind ftyp, and the movie's data. */
function partsOf(file: Buffer): { readonly moovAt: number; readonly moovLength: number } {
  const moovAt = file.readUInt32BE(0) + 8;
  return { moovAt, moovLength: file.readUInt32BE(moovAt - 8) - 8 };
}

function cut(file: Buffer, start: number, length: number, fromKeyFrame: boolean): CutMovie {
  const { moovAt, moovLength } = partsOf(file);
  return cutMovie(
    { file: "x.mp4", size: file.length, start: BigInt(start), length: BigInt(length), fromKeyFrame },
    {
      ftyp: undefined,
      moov: Buffer.from(file.subarray(moovAt, moovAt + moovLength + 16)),
      moovLength,
      dataEnd: file.length,
    },
  );
}

test("a part begins with the wanted sample, or with the key frame before it, and its offsets fit", () => {
  const file = movie(SHAPES[0]);
  for (const [start, fromKeyFrame, sample] of [
    [0, false, 0],
    [400, false, 10],
    [439, false, 10],
    [440, false, 11],
    [400, true, 7],
    [850, false, 21],
    [850, true, 21],
  ] as const) {
    const { prefix, start: from, end } = cut(file, start, 0, fromKeyFrame);
    assert.equal(file.latin1Slice(from, from + 3).split(".")[0], String(sample), `${start} ${fromKeyFrame}`);
    assert.equal(end, file.length);
    const stco = prefix.indexOf("stco");
    // The first chunk's data follow at once.
    assert.equal(prefix.readUInt32BE(stco + 12), prefix.length);
    assert.equal(prefix.includes("elst"), fromKeyFrame && start === 400);
  }
});

test("what is wrong with a file is said, whatever has become of it", () => {
  const chance = new Chance(Number(process.env.HOLDFAST_CHAOS_SEED ?? 1));
  const count = Number(process.env.HOLDFAST_CHAOS_MUTATIONS ?? 4000);
  const files = SHAPES.map((shape) => movie(shape));
  let cuts = 0;
  for (let i = 0; i < count; i++) {
    const original = files[i % files.length];
    const file = Buffer.from(original);
    const { moovAt, moovLength } = partsOf(original);
    for (let changes = 1 + chance.below(3); changes > 0; changes--) {
      const at = moovAt + chance.below(moovLength);
      const value = [0, 1, 0xff, 0x7f, chance.below(256)][chance.below(5)];
      if (chance.below(2) === 0) file[at] = value;
      else file.fill(value, at & ~3, (at & ~3) + 4);
    }
    const start = [0, 1, 400, 900, 2 ** 40][chance.below(5)];
    try {
      const {
        prefix,
        start: from,
        end,
      } = cut(file, start, [0, 1, 300, 2 ** 50][chance.below(4)], chance.below(2) === 0);
      assert.ok(0 <= from && from < end && end <= file.length && prefix.length < 2 * original.length);
      cuts++;
    } catch (error) {
      if (!(error instanceof Mp4Error)) throw error;
      assert.match(error.message, /"x\.mp4"/);
    }
  }
  assert.ok(cuts > count / 10 && cuts < count);
});
