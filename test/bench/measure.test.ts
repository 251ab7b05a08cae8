import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { builtInBackend } from "../../bench/backend.ts";
import { type Bench, freePort, measureLoad, serve, untilServing, warmUp } from "../../bench/measure.ts";
import { killAll, runPinned, startPinned, stop, usageOf } from "../../bench/process.ts";
import type { LoadScenario } from "../../bench/scenarios.ts";
import type { Server } from "../../bench/servers.ts";
import { PATIENCE_MS } from "../support/wait.ts";

const scenario: LoadScenario = {
  kind: "load",
  name: "small",
  title: "small",
  needs: "proxy",
  path: "/small",
  bytes: 128,
  connections: 4,
  fields: ["User-Agent: bench", "Cookie: a=b"],
  unit: "µs/request",
};
let bench: Bench;

/** The built-in backend serves as a server under test: it answers /small by itself. */
const server: Server = {
  name: "built in",
  abilities: ["proxy"],
  missing: () => undefined,
  version: () => "0",
  prepare: (site) => builtInBackend(site),
};

before(() => {
  const dir = mkdtempSync(join(tmpdir(), "bench-measure-"));
  const files = join(dir, "files");
  mkdirSync(files);
  bench = {
    dir,
    files,
    backendPort: 1,
    fastcgiPort: undefined,
    grpcPort: undefined,
    certificates: new Map(),
    descriptors: 1024,
    serverCore: 0,
    loadCores: "0",
    seconds: 1,
    warmup: 1,
    warmupRequests: 0,
    attempts: 1,
  };
});

after(() => {
  killAll();
  rmSync(bench.dir, { recursive: true, force: true });
});

test("a measured server yields its CPU time over the requests it answered", async () => {
  const serving = await serve(bench, server, scenario);
  await warmUp(bench, serving, scenario);
  const sample = await measureLoad(bench, serving, scenario);
  await stop(serving.child);
  assert.ok(sample.requests > 0);
  assert.ok(Math.abs((sample.user ?? 0) + (sample.system ?? 0) - sample.figure) < 1e-6);
  assert.ok(sample.figure > 0 && sample.figure < 1e6, `${sample.figure} µs a request`);
  assert.ok(sample.load !== undefined && sample.load > 0, `${sample.load} µs of the generator's`);
  assert.ok(sample.memoryMiB > 1);
  assert.equal(sample.errors, 0);
});

test("a server that does not start is a sentence with what it said", async () => {
  const broken: Server = {
    ...server,
    prepare: () => ({ program: "sh", args: ["-c", "echo no such directive >&2; exit 1"] }),
  };
  await assert.rejects(serve(bench, broken, scenario), /ended at its start: no such directive/);
});

test("the built-in generator counts what the built-in backend answers", async () => {
  const port = await freePort();
  const output = join(bench.dir, "generator");
  const child = startPinned(
    "0",
    builtInBackend({ dir: bench.dir, files: bench.files, port, descriptors: 1024 }),
    output,
  );
  const url = `http://127.0.0.1:${port}/small`;
  await untilServing(child, url, 128, output);
  const generator = join(import.meta.dirname, "../../bench/generator.ts");
  const line = await runPinned("0", { program: process.execPath, args: [generator, url, "4", "1"] }, PATIENCE_MS);
  const counted = JSON.parse(line);
  assert.ok(counted.requests > 0);
  assert.ok(counted.bytes >= counted.requests * 128);
  assert.equal(counted.errors, 0);
  await stop(child);
  assert.equal(usageOf(child.pid ?? 0).memoryKiB, 0);
});

test("a generator that hangs is ended and named", async () => {
  await assert.rejects(runPinned("0", { program: "sleep", args: ["30"] }, 50), /sleep took longer than 50 ms/);
});
