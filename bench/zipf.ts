/**
 * The hit ratio of a cache that is too small: nginx and Holdfast with the same configuration are asked for the same keys in the
 * same order, a few of them often and most seldom (Zipf's law), and say of each answer whether it was a hit.
 *
 *     node bench/zipf.ts [--keys 50000] [--requests 200000] [--exponent 1] [--share 0.1] [--rate 500] [--servers nginx,holdfast]
 *
 * `share`: max_size, of what all keys would take. The first two fifths of the requests fill the cache and are not counted.
 * nginx looks at its size only every ten seconds, and so may have several times max_size for a while, with more hits than it
 * should: beside each ratio stands that of an exact LRU of as many bytes as the files took in the mean. `rate`: requests a second at
 * most, so that this is not far from max_size.
 */
import { lstatSync, readdirSync } from "node:fs";
import { Agent, createServer, get, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { freePort, untilServing } from "./measure.ts";
import { type CacheServer, folder, isCacheServer, scratch, startCache } from "./one_cache.ts";
import { stop } from "./process.ts";

const { values } = parseArgs({
  options: {
    keys: { type: "string", default: "50000" },
    requests: { type: "string", default: "200000" },
    exponent: { type: "string", default: "1" },
    rate: { type: "string", default: "500" },
    share: { type: "string", default: "0.1" },
    servers: { type: "string", default: "nginx,holdfast" },
  },
});
const KEYS = Number(values.keys);
const REQUESTS = Number(values.requests);
const EXPONENT = Number(values.exponent);
const COUNTED_FROM = Math.floor(REQUESTS * 0.4);
const RATE = Number(values.rate);
const SAMPLED_MS = 2000;
const CLIENTS = 16;
const MOST_BYTES = 20 * 1024;
const BLOCK = 4096;
/** What either server's file has before the body, about. */
const HEAD = 500;

/** Numbers from 0 to 1 that are the same in each run (xorshift32). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Bytes of each key's body: 1 to 20 KiB. */
function bodySizes(): Uint16Array {
  const random = numbers(7);
  return Uint16Array.from({ length: KEYS }, () => 1024 + Math.floor(random() * (MOST_BYTES - 1024)));
}

/** The keys in the order in which they are asked for. */
function askedFor(): Uint32Array {
  const sums = new Float64Array(KEYS);
  let sum = 0;
  for (let rank = 0; rank < KEYS; rank++) {
    sum += (rank + 1) ** -EXPONENT;
    sums[rank] = sum;
  }
  const random = numbers(42);
  return Uint32Array.from({ length: REQUESTS }, () => {
    const at = random() * sum;
    let low = 0;
    for (let high = KEYS - 1; low < high; ) {
      const middle = (low + high) >> 1;
      if (sums[middle] < at) low = middle + 1;
      else high = middle;
    }
    return low;
  });
}

const sizes = bodySizes();
const keys = askedFor();
const maxSize = Math.floor(sizes.reduce((sum, _, key) => sum + fileBytes(key), 0) * Number(values.share));
const body = Buffer.alloc(MOST_BYTES, "Holdfast holds fast. ");

/** What the file of a key takes. */
function fileBytes(key: number): number {
  return Math.ceil((sizes[key] + HEAD) / BLOCK) * BLOCK;
}

/** The hit ratio of an exact LRU of so many bytes. */
function exactRatio(bytes: number): number {
  const held = new Set<number>();
  let taken = 0;
  let hits = 0;
  for (const [at, key] of keys.entries()) {
    const hit = held.delete(key);
    held.add(key);
    if (hit && at >= COUNTED_FROM) hits++;
    if (!hit) taken += fileBytes(key);
    for (const oldest of held) {
      if (taken <= bytes) break;
      held.delete(oldest);
      taken -= fileBytes(oldest);
    }
  }
  return hits / (REQUESTS - COUNTED_FROM);
}

/** Bytes of the files below a directory, in blocks. */
function taken(directory: string): number {
  let bytes = 0;
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    try {
      bytes += Math.ceil(lstatSync(join(entry.parentPath, entry.name)).size / BLOCK) * BLOCK;
    } catch {
      // It has given way meanwhile.
    }
  }
  return bytes;
}

function ask(agent: Agent, port: number, key: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const answered = (response: IncomingMessage) => {
      let bytes = 0;
      response.on("data", (piece: Buffer) => {
        bytes += piece.length;
      });
      response.on("end", () => {
        if (response.statusCode === 200 && bytes === sizes[key]) resolve(`${response.headers["x-cache"]}`);
        else reject(new Error(`${response.statusCode} with ${bytes} bytes for key ${key}, which has ${sizes[key]}`));
      });
    };
    get({ agent, host: "127.0.0.1", port, path: `/${key}` }, answered).on("error", reject);
  });
}

async function measure(name: CacheServer["name"], backendPort: number): Promise<string> {
  const dir = folder(root, name);
  const port = await freePort();
  const child = startCache({ name, dir, port, backendPort, zone: `32m max_size=${maxSize}` });
  try {
    await untilServing(child, `http://127.0.0.1:${port}/0`, sizes[0], join(dir, "output"));
    const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
    let next = 0;
    let hits = 0;
    const samples: number[] = [];
    const began = performance.now();
    const sampling = setInterval(() => {
      if (next >= COUNTED_FROM) samples.push(taken(join(dir, "entries")));
    }, SAMPLED_MS);
    const client = async () => {
      for (let at = next++; at < REQUESTS; at = next++) {
        const early = began + (at * 1000) / RATE - performance.now();
        if (early > 1) await new Promise((resolve) => setTimeout(resolve, early));
        const status = await ask(agent, port, keys[at]);
        if (status === "HIT" && at >= COUNTED_FROM) hits++;
      }
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
    clearInterval(sampling);
    agent.destroy();
    const mean = samples.reduce((sum, bytes) => sum + bytes, 0) / samples.length;
    const percent = (ratio: number) => `${(ratio * 100).toFixed(2)} %`;
    const parts = [
      `${name.padEnd(8)} ${percent(hits / (REQUESTS - COUNTED_FROM))} hits`,
      `its files took ${(mean / maxSize).toFixed(3)} of max_size in the mean, ${(Math.max(...samples) / maxSize).toFixed(3)} at most`,
      `an exact LRU of that mean: ${percent(exactRatio(mean))}`,
      `${Math.round((REQUESTS * 1000) / (performance.now() - began))} requests/s`,
    ];
    return parts.join("; ");
  } finally {
    await stop(child);
  }
}

const root = scratch("zipf");
const backend = createServer((request, response) => {
  const size = sizes[Number(request.url?.slice(1))] ?? 0;
  response.writeHead(200, { "Content-Length": size, "Content-Type": "text/plain" });
  response.end(body.subarray(0, size));
});
const backendPort = await freePort();
await new Promise<void>((resolve) => backend.listen(backendPort, "127.0.0.1", resolve));
process.stdout.write(
  `${KEYS} keys, exponent ${EXPONENT}, ${REQUESTS} requests, max_size ${(maxSize / 2 ** 20).toFixed(1)} MiB; an exact LRU of that: ${(exactRatio(maxSize) * 100).toFixed(2)} %\n`,
);
for (const name of values.servers.split(",").filter(isCacheServer)) {
  process.stdout.write(`${await measure(name, backendPort)}\n`);
}
process.exit(0);
