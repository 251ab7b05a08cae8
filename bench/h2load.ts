/** The load generator of HTTP/2: nghttp2's h2load, and what it counted. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Load, LoadOptions } from "./load.ts";
import { runPinned } from "./process.ts";

let version: string | undefined;

/** Undefined where it is not installed. */
export function h2loadVersion(): string | undefined {
  version ??= /\d+\.\d+(\.\d+)?/.exec(String(spawnSync("h2load", ["--version"], { encoding: "latin1" }).stdout))?.[0];
  return version;
}

/** Keeps `streams` requests under way on each connection. Throws when h2load fails or hangs. */
export async function generateH2(options: LoadOptions, streams: number): Promise<Load> {
  const { cores, url, connections, fields, message, seconds } = options;
  const dir = mkdtempSync(join(tmpdir(), "holdfast-h2load-"));
  try {
    const log = join(dir, "requests");
    const counts = ["-t1", `-c${connections}`, `-m${streams}`, `-D${seconds}`, `--log-file=${log}`];
    const args = [...counts, ...fields.flatMap((field) => ["-H", field])];
    if (message !== undefined) {
      const file = join(dir, "message");
      writeFileSync(file, message);
      args.push("-d", file);
    }
    args.push(url);
    const output = await runPinned(cores, { program: "h2load", args }, seconds * 1000 + 40_000);
    return parseH2Load(output, readFileSync(log, "latin1"));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** `output`: its report. `log`: a line for each request, with its time in µs at the end. */
export function parseH2Load(output: string, log: string): Load {
  const figures = (pattern: RegExp): number[] => {
    const found = pattern.exec(output);
    if (found === null) throw new Error(`h2load gave no line like ${pattern.source}`);
    return found.slice(1).map(Number);
  };
  const [seconds] = figures(/^finished in ([\d.]+)s/m);
  const [done, failed, timedOut] = figures(/^requests: .* (\d+) done, .* (\d+) failed, .* (\d+) timeout/m);
  const [client, server] = figures(/^status codes: .* (\d+) 4xx, (\d+) 5xx/m);
  const [bytes] = figures(/^traffic: \S+ \((\d+)\) total/m);
  const times: number[] = [];
  for (const line of log.split("\n")) {
    const at = line.lastIndexOf("\t");
    if (at > 0) times.push(Number(line.slice(at + 1)));
  }
  times.sort((a, b) => a - b);
  const p99 = times[Math.floor(times.length * 0.99)];
  if (p99 === undefined && done > 0) throw new Error("h2load logged no request");
  // Those that failed are counted among those that are done.
  return {
    requests: done - failed,
    bytes,
    seconds,
    p99Ms: (p99 ?? 0) / 1000,
    errors: failed + timedOut + client + server,
  };
}
