/** The load generators: wrk where it is installed, small ones of our own where not and for handshakes, h2load, and one that only holds. */
import { type ChildProcess, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { generateH2 } from "./h2load.ts";
import { type Command, hasEnded, runPinned, startPinned } from "./process.ts";

/** What a generator counted between its first byte and its last. */
export interface Load {
  /** Responses received whole. */
  requests: number;
  /** Bytes received, those of unfinished responses too. */
  bytes: number;
  seconds: number;
  p99Ms: number;
  /** Failed connections, timeouts and responses of status 400 and above. */
  errors: number;
}

export interface LoadOptions {
  cores: string;
  url: string;
  connections: number;
  /** Lines of the request's head behind Host, without their ends. */
  fields: readonly string[];
  handshakes?: "full" | "resumed";
  /** Over HTTP/2, with so many requests under way on each connection. */
  streams?: number;
  /** A POST with this body, over HTTP/2 only. */
  message?: Buffer;
  seconds: number;
}

const here = import.meta.dirname;
const script = join(here, "wrk.lua");
const generator = join(here, "generator.ts");
const handshaker = join(here, "handshakes.ts");
let wrkVersion: string | undefined;

/** The generator that `generate` uses on this machine, with its version. */
export function generatorName(): string {
  wrkVersion ??=
    /^wrk \S*?(\d[\d.]*)/m.exec(String(spawnSync("wrk", ["-v"], { encoding: "latin1" }).stdout))?.[1] ?? "";
  return wrkVersion === "" ? "built in (node:net)" : `wrk ${wrkVersion}`;
}

/** Keeps a request under way on each connection for so many seconds. Throws when the generator fails or hangs. */
export async function generate(options: LoadOptions): Promise<Load> {
  if (options.streams !== undefined) return generateH2(options, options.streams);
  const output = await runPinned(options.cores, command(options), options.seconds * 1000 + 40_000);
  return parseLoad(output);
}

function command({ url, connections, fields, handshakes, seconds }: LoadOptions): Command {
  const program = process.execPath;
  if (handshakes !== undefined) return { program, args: [handshaker, url, `${connections}`, `${seconds}`, handshakes] };
  if (!generatorName().startsWith("wrk")) {
    return { program, args: [generator, url, `${connections}`, `${seconds}`, ...fields] };
  }
  const counts = ["-t1", `-c${connections}`, `-d${seconds}s`, "--timeout", "30s"];
  return { program: "wrk", args: [...counts, "-s", script, url, "--", ...fields] };
}

/** Takes the generator's last line of JSON. */
export function parseLoad(output: string): Load {
  const line = output.trim().split("\n").pop() ?? "";
  const found: unknown = line.startsWith("{") ? JSON.parse(line) : undefined;
  const load: Record<string, unknown> = { ...(typeof found === "object" ? found : {}) };
  const figure = (name: string): number => {
    const value = load[name];
    if (typeof value !== "number" || !Number.isFinite(value)) throw new Error(`the load generator gave no ${name}`);
    return value;
  };
  return {
    requests: figure("requests"),
    bytes: figure("bytes"),
    seconds: figure("seconds"),
    p99Ms: figure("p99Ms"),
    errors: figure("errors"),
  };
}

export interface Held {
  child: ChildProcess;
  /** Reads how many connections are open now. */
  open(): number;
}

/** Opens the connections, makes one request on each, waits until all are answered and leaves them open. */
export async function holdConnections(options: {
  cores: string;
  url: string;
  connections: number;
  http2: boolean;
  groups: string;
  dir: string;
  timeoutMs: number;
}): Promise<Held> {
  const { url, connections, http2, groups } = options;
  const file = join(options.dir, "idle.out");
  const child = startPinned(
    options.cores,
    {
      program: process.execPath,
      args: [join(here, "idle.ts"), url, `${connections}`, http2 ? "h2" : "http/1.1", groups],
    },
    file,
  );
  const lastLine = () => readFileSync(file, "latin1").trim().split("\n").pop() ?? "";
  const open = () => Number(/^open (\d+)/.exec(lastLine())?.[1] ?? 0);
  const until = performance.now() + options.timeoutMs;
  while (open() < options.connections) {
    if (hasEnded(child)) throw new Error(`the holder of idle connections ended: ${lastLine()}`);
    if (performance.now() > until) throw new Error(`only ${open()} of ${options.connections} connections opened`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return { child, open };
}
