/**
 * A cache under fire: too small for what is asked of it, its processes killed, its files truncated and altered, its keys purged,
 * the clock set.
 * Every body is compared with what the server has said; nothing that was purged comes back; no file or descriptor is left.
 */
import assert from "node:assert/strict";
import { readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { httpBackend } from "../support/backend.ts";
import { exchangeFiles } from "../support/exchange_files.ts";
import { filesBelow } from "../support/files_below.ts";
import { bundled, makePrefix, startHoldfast } from "../support/holdfast.ts";
import { Chance } from "../support/mutations.ts";
import { checkersOf, openBy, workersOf } from "../support/processes.ts";
import { waitFor } from "../support/wait.ts";

const REQUESTS = Number(process.env.HOLDFAST_CHAOS_CACHE ?? 2000);
const SEED = Number(process.env.HOLDFAST_CHAOS_SEED ?? 1);
const KEYS = Math.ceil(REQUESTS / 5);
const CLIENTS = 12;
/** Of the files, bytes: about a quarter of what there is. */
const MOST = Math.max(2 ** 20, Math.round((KEYS * 6000) / 4));
const INACTIVE = 5;
const KILL_EVERY = Math.min(2000, REQUESTS / 8);
/** The clock is set to within so many ms of the true time. */
const DAY = 86_400_000;

const BLOCK = Buffer.from(
  Array.from({ length: 400_000 }, (_, i) => (Math.imul(i ^ (i >>> 7), 0x9e37_79b1) >>> 13) & 0xff),
);

/** What the server says of a key the so-manieth time. Some bodies are empty, some long. */
function bodyOf(key: number, version: number): Buffer {
  const mixed = Math.imul(key * 31 + version, 0x85eb_ca6b) >>> 0;
  const length = key % 50 === 0 ? 100_000 + (mixed % 100_000) : key % 17 === 0 ? 0 : mixed % 9000;
  const from = mixed % (BLOCK.length - length);
  return Buffer.concat([Buffer.from(`${key} ${version}\n`), BLOCK.subarray(from, from + length)]);
}

/** The keys, and what the server and the purges have made of each. */
class Truth {
  /** How often the server was asked. */
  readonly said = new Map<number, number>();
  /** Versions up to this one have been purged. */
  readonly purged = new Map<number, number>();
  readonly wrong: string[] = [];
  readonly statuses = new Map<string, number>();
  broken = 0;

  answer(key: number, response: http.ServerResponse): void {
    const version = (this.said.get(key) ?? 0) + 1;
    this.said.set(key, version);
    response.setHeader("X-Version", version);
    response.end(bodyOf(key, version));
  }

  /** A connection broke, as some do when a process is killed; but no request hangs. */
  fail(error: unknown): void {
    this.broken++;
    const message = error instanceof Error ? error.message : String(error);
    if (message.startsWith("no answer")) this.wrong.push(message);
  }

  /** `least`: the version that a response must exceed. */
  judge(key: number, least: number, { statusCode, headers }: http.IncomingMessage, body: Buffer): void {
    const status = `${headers["x-cache"]}`;
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
    const version = Number(headers["x-version"]);
    if (statusCode !== 200) this.wrong.push(`${statusCode} for ${key}`);
    else if (!body.equals(bodyOf(key, version)))
      this.wrong.push(`${status} of ${key}: ${difference(body, bodyOf(key, version))}`);
    else if (version <= least) this.wrong.push(`${status}: version ${version} of ${key}, where ${least} was purged`);
  }
}

function difference(body: Buffer, wanted: Buffer): string {
  let at = 0;
  while (at < body.length && body[at] === wanted[at]) at++;
  const what = `${wanted.subarray(0, 10).toString("latin1")} ${body.subarray(0, 10).toString("latin1")}`;
  const bytes = (of: Buffer): string => of.subarray(at, at + 8).toString("hex");
  return `${JSON.stringify(what)}, ${body.length} bytes for ${wanted.length}; from ${at} on ${bytes(body)} for ${bytes(wanted)}`;
}

const agent = new http.Agent({ keepAlive: true, maxSockets: CLIENTS + 2 });

function ask(port: number, method: string, key: number): Promise<[http.IncomingMessage, Buffer]> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      { port, host: "127.0.0.1", method, path: `/${key}`, agent, timeout: 20_000 },
      (response) => {
        const pieces: Buffer[] = [];
        response.on("data", (bytes: Buffer) => pieces.push(bytes));
        response.on("end", () =>
          response.complete ? resolve([response, Buffer.concat(pieces)]) : reject(new Error("cut off")),
        );
        response.on("error", reject);
      },
    );
    request.on("timeout", () => request.destroy(new Error(`no answer to ${method} ${key} for 20 s`)));
    request.on("error", reject);
    request.end();
  });
}

/**
 * Cuts a file short, or changes a byte of it, in a copy that takes its place. What is changed in a file itself while it is being
 * sent goes out: the kernel sends the pages that it has of it. So it is with nginx.
 */
function damage(file: string, chance: Chance): void {
  try {
    let bytes = readFileSync(file);
    if (chance.below(2) === 0) bytes = bytes.subarray(0, chance.below(bytes.length));
    else bytes[chance.below(bytes.length)] ^= 1 << chance.below(8);
    const copy = join(file.slice(0, file.lastIndexOf("/cache/")), "copy");
    writeFileSync(copy, bytes);
    // Only where there is one: one that has been removed meanwhile must not come back.
    exchangeFiles(copy, file);
  } catch {
    // It has been removed meanwhile.
  }
}

test(`${REQUESTS} requests over ${KEYS} keys: no wrong byte, no file and no descriptor left`, async (t) => {
  t.after(() => agent.destroy());
  const chance = new Chance(SEED);
  const truth = new Truth();
  const { address } = await httpBackend(t, ({ url }, response) => truth.answer(Number(url?.slice(1)), response));
  const prefix = makePrefix(t);
  const clock = join(prefix, "clock");
  const setClock = (): void => {
    writeFileSync(`${clock}.new`, String(chance.below(2 * DAY) - DAY));
    renameSync(`${clock}.new`, clock);
  };
  setClock();
  const holdfast = await startHoldfast(t, {
    prefix,
    entry: bundled(fileURLToPath(new URL("../support/stepped_main.ts", import.meta.url))),
    config: ([port]) => `user root; env STEPPED_CLOCK=${clock}; worker_processes 2; worker_shutdown_timeout 5s; http {
      proxy_cache_path cache levels=1:2 keys_zone=one:${Math.max(64, Math.round(KEYS / 16))}k
        max_size=${MOST} inactive=${INACTIVE}s manager_sleep=10ms loader_sleep=10ms;
      server { listen 127.0.0.1:${port}; keepalive_requests 1000;
        location / { proxy_pass http://${address}; proxy_cache one; proxy_cache_key $uri; proxy_cache_valid 200 2s;
          proxy_cache_lock on; proxy_cache_use_stale updating error timeout; proxy_cache_background_update on;
          proxy_cache_purge PURGE from all; add_header X-Cache $upstream_cache_status; } } }`,
  });
  const { port, pid } = holdfast;
  let begun = 0;
  let killed = 0;
  const files = (): string[] => filesBelow(join(prefix, "cache"));
  let victims: string[] = [];

  const purge = async (key: number): Promise<void> => {
    const before = truth.said.get(key) ?? 0;
    await ask(port, "PURGE", key);
    truth.purged.set(key, Math.max(before, truth.purged.get(key) ?? 0));
  };
  const vandalize = (): void => {
    if (begun % 300 === 0) victims = files().filter((file) => !file.includes("/.temp/"));
    if (victims.length > 0) damage(victims[chance.below(victims.length)], chance);
  };
  const kill = (): void => {
    const processes = chance.below(3) === 0 ? checkersOf(pid) : workersOf(pid);
    if (processes.length === 0) return;
    process.kill(processes[chance.below(processes.length)], "SIGKILL");
    killed++;
  };
  const client = async (): Promise<void> => {
    while (begun++ < REQUESTS) {
      const key = Math.floor(KEYS * (chance.below(2 ** 30) / 2 ** 30) ** 3);
      if (begun % 10 === 0) vandalize();
      if (begun % KILL_EVERY === 0) kill();
      if (begun % KILL_EVERY === KILL_EVERY / 2) setClock();
      const least = truth.purged.get(key) ?? 0;
      try {
        if (begun % 25 === 0) {
          await purge(key);
          continue;
        }
        const [response, body] = await ask(port, "GET", key);
        truth.judge(key, least, response, body);
      } catch (error) {
        truth.fail(error);
      }
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  t.diagnostic(
    `${JSON.stringify([...truth.statuses])}, ${truth.broken} connections broken, ${killed} processes killed`,
  );
  assert.deepEqual(truth.wrong.slice(0, 5), []);
  assert.ok(
    killed > 0 && truth.broken < killed * 4 * CLIENTS + REQUESTS / 100,
    `${truth.broken} broken, ${killed} killed`,
  );
  assert.ok((truth.statuses.get("HIT") ?? 0) > REQUESTS / 20);

  // Afterwards: the bound is kept, and no lock is left that anybody would have to wait for.
  const size = (): number =>
    files().reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0), 0);
  await waitFor(
    () => size() <= MOST,
    () => `no more than ${MOST} bytes, of ${size()}`,
  );
  await waitFor(() => workersOf(pid).length === 2 && checkersOf(pid).length === 1, "all processes");
  const began = performance.now();
  for (let key = 0; key < 200; key++) {
    const [response, body] = await ask(port, "GET", key);
    truth.judge(key, truth.purged.get(key) ?? 0, response, body);
  }
  assert.ok(performance.now() - began < 4 * 5000, "nobody waits for a lock");
  assert.deepEqual(truth.wrong.slice(0, 5), []);
  // What is not in the index would stay for ever.
  await waitFor(
    () => files().length === 0,
    () => `every file to go: ${files().slice(0, 5)}`,
    60_000,
  );
  agent.destroy();
  const open = (): string[] =>
    workersOf(pid).flatMap((worker) => openBy(worker).filter((name) => name.includes("/cache/")));
  await waitFor(
    () => open().length === 0,
    () => `no file open: ${open()}`,
  );
  assert.doesNotMatch(holdfast.errorLog(), /\[(alert|emerg)\] (?![^\n]*exited on signal 9)[^\n]*/);
});
