import assert from "node:assert/strict";
import { utimesSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { inspect, isDeepStrictEqual } from "node:util";
import { essenceOf } from "../support/essence.ts";
import { have } from "../support/have.ts";
import { startHoldfast, startNginx } from "../support/holdfast.ts";
import { type MovieShape, movie, type TrackShape } from "../support/mp4_movie.ts";
import { get, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const VIDEO: TrackShape = {
  timescale: 12_800,
  samples: 250,
  duration: (i) => (i % 50 < 30 ? 512 : 500),
  size: (i) => 20 + ((i * 7) % 31),
  perChunk: (chunk) => 1 + (chunk % 4),
  keyEvery: 12,
  offset: (i) => (i % 3) * 512,
};
const AUDIO: TrackShape = {
  timescale: 44_100,
  samples: 430,
  duration: () => 1024,
  size: (i) => 10 + (i % 5),
  perChunk: () => 5,
  wide: true,
};
const SHORT: TrackShape = {
  timescale: 90_000,
  samples: 9,
  duration: () => 30_000,
  size: () => 8,
  perChunk: () => 9,
  uniform: true,
};

const MOVIES: Readonly<Record<string, MovieShape>> = {
  "video.mp4": { tracks: [VIDEO] },
  "both.mp4": { tracks: [VIDEO, AUDIO] },
  "three.mp4": { tracks: [SHORT, VIDEO, AUDIO] },
  "last.mp4": { tracks: [VIDEO, AUDIO], dataFirst: true },
  "long.mp4": {
    tracks: [AUDIO, VIDEO],
    longHeaders: ["moov", "trak", "tkhd", "mdia", "hdlr", "stts", "stsz", "ftyp", "mdat"],
  },
};

const whole = movie(MOVIES["both.mp4"]);
const FILES: Record<string, Uint8Array | string> = {
  "html/empty.mp4": "",
  "html/text.mp4": "This is no movie at all, but text.",
  "html/cut.mp4": whole.subarray(0, 1500),
  "html/directory/x": "",
};
for (const [name, shape] of Object.entries(MOVIES)) FILES[`html/${name}`] = movie(shape);

const config = ([port]: readonly number[]): string =>
  `http { access_log off; types { video/mp4 mp4; } root html; mp4_buffer_size 600; server { listen 127.0.0.1:${port};
    location / { mp4; }
    location /key/ { alias html/; mp4; mp4_start_key_frame on; }
    location /small/ { alias html/; mp4; mp4_max_buffer_size 1k; }
  } }`;

const ARGS = [
  ..."?start=0 ?start=0.001 ?start=1 ?start=1.5 ?start=3.3339999 ?start=9 ?start=9.99 ?start=10 ?start=12 ?start=1e3".split(
    " ",
  ),
  ..."?start=-1 ?start= ?start=. ?start=.5 ?start=2. ?start=1.2.3 ?start=9223372036854775.807 ?start=9223372036854776".split(
    " ",
  ),
  ..."?end=0 ?end=1 ?end=0.02 ?end=5.5 ?end=100 ?end=x ?start=1&end=2 ?start=2&end=1 ?start=1&end=1.01 ?start=0&end=3".split(
    " ",
  ),
  ..."?start=4.2&end=7.77 ?start=9.5&end=9.9 ?start=2.9&end=3.0 ?start=1&end=1 ?START=2&End=3 ?start=0.04&end=0.08".split(
    " ",
  ),
];
const HEADERS = [
  ["Range: bytes=0-9"],
  ["Range: bytes=20-2000"],
  ["Range: bytes=-10"],
  ["Range: bytes=1000000-"],
  ["If-Modified-Since: Sun, 13 Sep 2020 12:26:40 GMT"],
];

test("parts of movies, ranges of them and errors are nginx's", { skip: have("nginx") }, async (t) => {
  const holdfast = await startHoldfast(t, { config, files: FILES });
  const nginx = await startNginx(t, { config, files: FILES });
  for (const { prefix } of [holdfast, nginx]) {
    for (const file of Object.keys(FILES)) utimesSync(join(prefix, file), 1_600_000_000, 1_600_000_000);
  }
  const compare = async (path: string, ...headers: string[]): Promise<void> => {
    const [ours, theirs] = await Promise.all([get(holdfast.port, path, ...headers), get(nginx.port, path, ...headers)]);
    assert.deepEqual(essenceOf(ours), essenceOf(theirs), `${path} ${headers}`);
  };
  for (const name of Object.keys(MOVIES)) {
    for (const args of ["", ...ARGS]) {
      await compare(`/${name}${args}`);
      if (args !== "") await compare(`/key/${name}${args}`);
    }
  }
  for (const headers of HEADERS) await compare("/both.mp4?start=3&end=7", ...headers);
  const head = "HEAD /both.mp4?start=3 HTTP/1.0\r\n\r\n";
  assert.deepEqual(essenceOf(await request(holdfast.port, head)), essenceOf(await request(nginx.port, head)));
  for (const name of ["empty.mp4", "text.mp4", "cut.mp4", "none.mp4", "directory", "directory/", "small/both.mp4"]) {
    await compare(`/${name}`);
    await compare(`/${name}?start=1`);
  }
  const sentences = (log: string): string[] =>
    [...log.matchAll(/\[error\] [^\n]*?\*\d+ ([^\n]*(?:mp4|data between)[^\n]*?), client: /g)].map(([, text]) =>
      text.replace(/\/[^"]*\/html\//g, "html/"),
    );
  const theirs = sentences(nginx.errorLog());
  assert.ok(theirs.length > 20);
  await waitFor(
    () => isDeepStrictEqual(new Set(sentences(holdfast.errorLog())), new Set(theirs)),
    () => inspect({ ours: new Set(sentences(holdfast.errorLog())), theirs: new Set(theirs) }),
  );
});
