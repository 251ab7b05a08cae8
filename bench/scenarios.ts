/** What is measured. The table is in the order of the report. */
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

export type Ability = "proxy" | "static";

interface Common {
  /** As `--only` takes it. */
  name: string;
  title: string;
}

/** Closed-loop load on one address; the figure is CPU time over requests, or over GiB where a response is long. */
export interface LoadScenario extends Common {
  kind: "load";
  needs: Ability;
  path: string;
  /** Length of the response's body, bytes. */
  bytes: number;
  connections: number;
  unit: "µs/request" | "ms/GiB";
}

/** Connections that made one request and then stay open; the figure is the growth of resident memory over them. */
export interface IdleScenario extends Common {
  kind: "idle";
  needs: Ability;
  path: string;
  bytes: number;
  connections: number;
  unit: "KiB/connection";
}

/** Active health checks of many servers: Holdfast alone has them; measured by `bench/checks.ts`. */
export interface ChecksScenario extends Common {
  kind: "checks";
}

export type Scenario = LoadScenario | IdleScenario | ChecksScenario;

const KiB = 1024;
const MiB = 1024 * KiB;
const smallBytes = 128;

export const scenarios: readonly Scenario[] = [
  {
    kind: "load",
    name: "proxy-small",
    title: "Proxied, 128 bytes, keep-alive on both sides",
    needs: "proxy",
    path: "/small",
    bytes: smallBytes,
    connections: 64,
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "proxy-100k",
    title: "Proxied, 100 KiB",
    needs: "proxy",
    path: "/100k.bin",
    bytes: 100 * KiB,
    connections: 64,
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "proxy-100m",
    title: "Proxied, 100 MiB",
    needs: "proxy",
    path: "/100m.bin",
    bytes: 100 * MiB,
    connections: 4,
    unit: "ms/GiB",
  },
  {
    kind: "load",
    name: "static-1k",
    title: "Static file, 1 KiB",
    needs: "static",
    path: "/static/1k.bin",
    bytes: KiB,
    connections: 64,
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "static-10m",
    title: "Static file, 10 MiB",
    needs: "static",
    path: "/static/10m.bin",
    bytes: 10 * MiB,
    connections: 8,
    unit: "ms/GiB",
  },
  {
    kind: "idle",
    name: "idle",
    title: "10,000 idle keep-alive connections",
    needs: "proxy",
    path: "/small",
    bytes: smallBytes,
    connections: 10_000,
    unit: "KiB/connection",
  },
  { kind: "checks", name: "checks", title: "10,000 servers checked every second" },
];

/** The body of /small, which every backend answers from memory. */
export const smallBody = "Holdfast holds fast. "
  .repeat(7)
  .slice(0, smallBytes - 1)
  .concat("\n");

/** Writes the files the chosen scenarios ask for below `root`, with bytes that no file system stores as holes. */
export function writeFiles(root: string, chosen: readonly Scenario[]): void {
  const piece = Buffer.alloc(MiB);
  for (let at = 0; at < piece.length; at += 32) createHash("sha256").update(`${at}`).digest().copy(piece, at);
  for (const scenario of chosen) {
    if (scenario.kind === "checks" || !scenario.path.endsWith(".bin")) continue;
    const file = join(root, scenario.path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, "");
    for (let left = scenario.bytes; left > 0; left -= piece.length) {
      writeFileSync(file, piece.subarray(0, Math.min(left, piece.length)), { flag: "a" });
    }
  }
}
