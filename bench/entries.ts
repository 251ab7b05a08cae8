/**
 * A cache with many small files after a restart: how long until the first hit, what finding the files costs, and how many entries a
 * zone has room for. nginx and Holdfast with the same configuration, one after the other.
 *
 *     node bench/entries.ts [--entries 1000000] [--zone 128m] [--servers nginx,holdfast]
 *
 * The files are written by this program, as Holdfast writes them; that takes some minutes, and a disk with 4 KiB for each. nginx, which goes by the
 * same names, finds them too, and looks into none of them. The one whose hit is waited for has been put there by the server itself.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer, get } from "node:http";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { digestOf, fileName } from "../src/http/cache/digest.ts";
import { checksum, encodeHead } from "../src/http/cache/entry_file.ts";
import { freePort } from "./measure.ts";
import { type CacheServer, folder, isCacheServer, scratch, startCache } from "./one_cache.ts";
import { hasEnded, processTree, stop } from "./process.ts";

const { values } = parseArgs({
  options: {
    entries: { type: "string", default: "1000000" },
    zone: { type: "string", default: "128m" },
    servers: { type: "string", default: "nginx,holdfast" },
  },
});
const ENTRIES = Number(values.entries);
const BODY = Buffer.from("Holdfast holds fast.\n".repeat(10));
/** Of the one that the server has put there. */
const KEY = "/asked-for";
const MOST_MS = 30 * 60_000;
const say = (text: string) => process.stdout.write(text);
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

function writeEntries(directory: string): void {
  const now = Math.floor(Date.now() / 1000);
  const about = { vary: "", variant: "\0".repeat(16), purge: 0, family: 0, tags: "", toHead: false };
  const answer = { contentLength: BODY.length, version: 1001, status: 200 };
  const validity = { valid: now + 86_400, updating: 0, error: 0, date: now };
  const body = { bodyBytes: BODY.length, bodyChecksum: checksum(BODY) };
  const text = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n";
  for (let i = 0; i < 0x1000; i++) {
    mkdirSync(join(directory, (i & 0xf).toString(16), (i >> 4).toString(16).padStart(2, "0")), { recursive: true });
  }
  for (let i = 0; i < ENTRIES; i++) {
    const key = `/${i}`;
    const head = encodeHead({ ...about, ...answer, ...validity, ...body, key, text });
    writeFileSync(fileName(directory, [1, 2], digestOf(key)), Buffer.concat([head, BODY]));
  }
}

function filesIn(directory: string): number {
  let files = 0;
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) files += filesIn(join(directory, entry.name));
    else if (/^[0-9a-f]{32}$/.test(entry.name)) files++;
  }
  return files;
}

/** What the cache did; undefined where nobody answers. */
function ask(port: number, path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const request = get({ agent: false, host: "127.0.0.1", port, path, timeout: 2000 }, (response) => {
      response.resume().on("end", () => resolve(`${response.headers["x-cache"]}`));
      response.on("error", () => resolve(undefined));
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(undefined));
  });
}

/** CPU time of the process that looks for files, in ms; undefined while there is none. */
function finderMs(root: number): number | undefined {
  for (const [pid, { userTicks, systemTicks }] of processTree(root)) {
    try {
      if (/cache loader|checker/.test(readFileSync(`/proc/${pid}/cmdline`, "latin1")))
        return (userTicks + systemTicks) * 10;
    } catch {
      // It has ended.
    }
  }
  return undefined;
}

async function untilAnswered(port: number, status: string, child: ReturnType<typeof startCache>): Promise<number> {
  const began = performance.now();
  while ((await ask(port, KEY)) !== status) {
    if (hasEnded(child)) throw new Error("the server ended at its start");
    if (performance.now() > began + MOST_MS) throw new Error(`no ${status}`);
    await pause(10);
  }
  return performance.now() - began;
}

async function measure(name: CacheServer["name"], backendPort: number, files: string): Promise<void> {
  const dir = folder(root, name);
  const server = { name, dir, port: await freePort(), backendPort, zone: values.zone };
  // The server itself makes the directory and one entry, and then finds the others.
  const first = startCache(server);
  const emptyMs = await untilAnswered(server.port, "HIT", first);
  await stop(first);
  const own = fileName(join(dir, "entries"), [1, 2], digestOf(KEY));
  renameSync(own, fileName(files, [1, 2], digestOf(KEY)));
  renameSync(join(dir, "entries"), join(dir, "first"));
  renameSync(files, join(dir, "entries"));

  const child = startCache(server);
  const began = performance.now();
  const hitMs = await untilAnswered(server.port, "HIT", child);
  say(
    `${name}: first hit ${Math.round(hitMs)} ms after the start with ${ENTRIES} files, and ${Math.round(emptyMs)} ms with none\n`,
  );
  let foundMs = 0;
  let lastMs = 0;
  for (;;) {
    const ms = finderMs(child.pid ?? 0);
    if (ms !== undefined) {
      if (foundMs === 0) foundMs = performance.now();
      lastMs = ms;
    }
    if (readFileSync(join(dir, "error.log"), "latin1").includes("bsize:")) break;
    if (hasEnded(child) || performance.now() > began + MOST_MS) throw new Error("the files were not found");
    await pause(100);
  }
  const seconds = (performance.now() - foundMs) / 1000;
  say(`${name}: found them in ${seconds.toFixed(1)} s, with ${(lastMs / 1000).toFixed(1)} s of CPU: `);
  say(`${(lastMs / 10 / seconds).toFixed(1)} % of a core\n`);
  await stop(child);
  say(`${name}: a zone of ${values.zone} has room for ${filesIn(join(dir, "entries"))} of them\n`);
  renameSync(join(dir, "entries"), files);
}

const root = scratch("entries");
const backend = createServer((_request, response) => {
  response.writeHead(200, { "Content-Length": BODY.length, "Content-Type": "text/plain" });
  response.end(BODY);
});
const backendPort = await freePort();
await new Promise<void>((resolve) => backend.listen(backendPort, "127.0.0.1", resolve));
const files = folder(root, "files");
for (const name of values.servers.split(",").filter(isCacheServer)) {
  // Those for whom a zone has no room are removed: each has all of them at its start.
  if (filesIn(files) < ENTRIES) writeEntries(files);
  await measure(name, backendPort, files);
}
process.exit(0);
