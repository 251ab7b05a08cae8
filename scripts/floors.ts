// The layers of the house (docs/architecture.md): a file imports only from its own layer or from one below it, types
// included; a module under src/http/modules is imported by the registry alone; what few processes need of Node is not imported; no import cycle leaves one folder, and none is
// left once types are stripped.
// Run by `npm run check`; exits with 1 on a breach.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** Folders of src/ and files directly in it, from the ground up. One that is not named here is a mistake: say where it stands. */
const LAYERS: readonly (readonly string[])[] = [
  ["sys", "config", "version"],
  ["shm", "regex", "net", "wire"],
  ["script", "runtime", "redis"],
  ["balancer", "http"],
  ["http/modules", "http/cache", "health", "session", "cluster", "stream"],
  ["admin"],
  ["main", "bundle", "boot", "program"],
];
/** Where threads start: there a module's helper thread may be started too. */
const ENTRY = LAYERS.length - 1;
const REGISTRY = "src/http/conf/registry.ts";
const MODULES = "src/http/modules/";
/** What src/sys/builtin.ts loads when it is needed, and what brings as much: imported, each process has it from its start. */
const WHEN_NEEDED = [
  "child_process",
  "crypto",
  "dgram",
  "fs/promises",
  "http",
  "https",
  "tls",
  "util",
  "worker_threads",
  "zlib",
];
/** Rooms of http/ that stand a layer higher than the rest of it. */
const HIGHER = ["http/modules", "http/cache"];

export interface Import {
  readonly from: string;
  /** `import type`: gone when the program runs. */
  readonly type: boolean;
  readonly line: number;
}

/** What each file imports from within src/: by file, both relative to the checkout and written with slashes. */
export type ImportGraph = ReadonlyMap<string, readonly string[]>;

/**
 * What a TypeScript file imports or re-exports, statically or with `import("…")`, types included: the specifiers as
 * written. Comments are skipped; a specifier that is computed is not seen.
 */
export function importsOf(source: string): Import[] {
  const found: Import[] = [];
  const scanner =
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|(?:\b(?:import|export)\b[\w\s{},*$]*?\bfrom|\bimport\b\s*\(?)\s*(?:"([^"\n]+)"|'([^'\n]+)')|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/g;
  for (const match of source.matchAll(scanner)) {
    const from = match[1] ?? match[2];
    if (from !== undefined)
      found.push({
        from,
        type: /^(?:import|export)\s+type\b/.test(match[0]),
        line: source.slice(0, match.index + match[0].length).split("\n").length,
      });
  }
  return found;
}

/** The layer of a source file (`src/http/modules/access/access.ts` → 4), or undefined where it has none. */
export function layerOf(file: string): number | undefined {
  const higher = HIGHER.find((room) => file.startsWith(`src/${room}/`));
  const folder = higher ?? file.split("/")[1].replace(/\.ts$/, "");
  const layer = LAYERS.findIndex((folders) => folders.includes(folder));
  return layer === -1 ? undefined : layer;
}

/** The module a file under src/http/modules belongs to: the folder's name, or its own where it has no folder. */
function moduleOf(file: string): string | undefined {
  return file.startsWith(MODULES) ? file.slice(MODULES.length).replace(/(\.ts|\/.*)$/, "") : undefined;
}

function targetOf(file: string, from: string): string {
  return posix.normalize(posix.join(posix.dirname(file), from));
}

/** The breaches in one file, a sentence each. `file` is relative to the checkout and written with slashes. */
export function breaches(file: string, source: string): string[] {
  const own = layerOf(file);
  if (own === undefined) return [`${file}: its folder stands in no layer; name it in scripts/floors.ts`];
  const sentences: string[] = [];
  for (const { from, type, line } of importsOf(source)) {
    const place = `${file}:${line}`;
    if (!type && WHEN_NEEDED.some((name) => from === `node:${name}`))
      sentences.push(`${place}: imports ${from}, which few processes need; take it from src/sys/builtin.ts`);
    if (!from.startsWith(".")) continue;
    const target = targetOf(file, from);
    if (!target.startsWith("src/")) {
      sentences.push(`${place}: imports ${target}, which is outside src/`);
      continue;
    }
    const module = moduleOf(target);
    if (module !== undefined && (file === REGISTRY || own === ENTRY || module === moduleOf(file))) continue;
    const layer = layerOf(target);
    if (layer === undefined) sentences.push(`${place}: imports ${target}, which stands in no layer`);
    else if (layer > own) sentences.push(`${place}: imports ${target}, which is in a higher layer`);
    else if (module !== undefined) {
      sentences.push(`${place}: imports ${target}; only ${REGISTRY} may import a module`);
    }
  }
  return sentences;
}

/** Import cycles whose files are not all in one folder, a sentence each. */
export function cyclesAcrossFolders(graph: ImportGraph): string[] {
  return components(graph)
    .filter((files) => new Set(files.map((file) => posix.dirname(file))).size > 1)
    .map((files) => `import cycle across folders: ${[...files].sort().join(", ")}`);
}

/** Import cycles of the program as it runs, whatever their folders, a sentence each. */
export function cyclesOfValues(graph: ImportGraph): string[] {
  return components(graph)
    .filter((files) => files.length > 1)
    .map((files) => `import cycle that is not of types alone: ${[...files].sort().join(", ")}`);
}

/** The strongly connected components of the graph (Tarjan's algorithm). */
function components(graph: ImportGraph): string[][] {
  const found: string[][] = [];
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const visit = (file: string): number => {
    const own = index.size;
    index.set(file, own);
    let lowest = own;
    stack.push(file);
    for (const target of graph.get(file) ?? []) {
      if (!index.has(target)) lowest = Math.min(lowest, visit(target));
      else if (stack.includes(target)) lowest = Math.min(lowest, index.get(target) ?? own);
    }
    low.set(file, lowest);
    if (lowest === own) found.push(stack.splice(stack.indexOf(file)));
    return lowest;
  };
  for (const file of graph.keys()) if (!index.has(file)) visit(file);
  return found;
}

function main(): void {
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .map((path) => join("src", path).split(sep).join("/"))
    .filter((path) => path.endsWith(".ts"))
    .sort();
  const sources = new Map(files.map((file) => [file, readFileSync(join(root, file), "utf8")]));
  const graphOf = (wanted: (found: Import) => boolean): ImportGraph =>
    new Map(
      [...sources].map(([file, source]) => [
        file,
        importsOf(source)
          .filter(wanted)
          .map(({ from }) => targetOf(file, from)),
      ]),
    );
  const sentences = [
    ...[...sources].flatMap(([file, source]) => breaches(file, source)),
    ...cyclesAcrossFolders(graphOf(() => true)),
    ...cyclesOfValues(graphOf(({ type }) => !type)),
  ];
  for (const sentence of sentences) process.stderr.write(`${sentence}\n`);
  if (sentences.length > 0) process.exitCode = 1;
  else
    process.stdout.write(
      `${files.length} files import only from their own layer or below; no cycle leaves a folder or is of more than types\n`,
    );
}

if (import.meta.main) main();
