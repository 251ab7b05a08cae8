// The floors of the house (docs/architecture.md): a file imports only from its own floor or from one below it, and a
// module under src/http/modules is imported by the registry alone. Run by `npm run check`; exits with 1 on a breach.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** Folders of src/ and files directly in it, from the ground up. One that is not named here is a mistake: say where it stands. */
const FLOORS: readonly (readonly string[])[] = [
  ["sys", "config", "runtime", "net", "shm", "regex", "wire", "version"],
  ["script", "balancer", "upstream", "http"],
  ["http/modules", "health", "cache", "session", "cluster", "stream"],
  ["admin"],
  ["main", "bundle", "boot", "program"],
];
/** Where threads start: there a module's helper thread may be started too. */
const ENTRY = FLOORS.length - 1;
const REGISTRY = "src/http/conf/registry.ts";
const MODULES = "src/http/modules/";

export interface Import {
  readonly from: string;
  readonly line: number;
}

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
      found.push({ from, line: source.slice(0, match.index + match[0].length).split("\n").length });
  }
  return found;
}

/** The floor of a source file (`src/http/modules/access/access.ts` → 2), or undefined where it has none. */
export function floorOf(file: string): number | undefined {
  const parts = file.split("/").slice(1);
  const name = parts[0].replace(/\.ts$/, "");
  const folder = file.startsWith(MODULES) ? "http/modules" : name;
  const floor = FLOORS.findIndex((folders) => folders.includes(folder));
  return floor === -1 ? undefined : floor;
}

/** The modules that the registry imports, by name: `proxy` for `./modules/proxy.ts`. */
export function modulesIn(registry: string): Set<string> {
  return new Set(
    importsOf(registry).flatMap(({ from }) => /^\.\.?\/modules\/([^/]+?)(?:\/.+)?\.ts$/.exec(from)?.[1] ?? []),
  );
}

/** The module a file under src/http/modules belongs to: `proxy.ts`, `proxy_cookie.ts` and `proxy/…` are one. */
function moduleOf(file: string, modules: ReadonlySet<string>): string | undefined {
  if (!file.startsWith(MODULES)) return undefined;
  const name = file.slice(MODULES.length).replace(/(\.ts|\/.*)$/, "");
  for (let end = name.length; end > 0; end = name.lastIndexOf("_", end - 1)) {
    if (modules.has(name.slice(0, end))) return name.slice(0, end);
  }
  return name;
}

/**
 * The breaches in one file, a sentence each. `file` is relative to the checkout and written with slashes; `modules` are
 * the names that the registry imports.
 */
export function breaches(file: string, source: string, modules: ReadonlySet<string> = new Set()): string[] {
  const own = floorOf(file);
  if (own === undefined) return [`${file}: its folder stands on no floor; name it in scripts/floors.ts`];
  const sentences: string[] = [];
  for (const { from, line } of importsOf(source)) {
    if (!from.startsWith(".")) continue;
    const target = posix.normalize(posix.join(posix.dirname(file), from));
    const place = `${file}:${line}`;
    if (!target.startsWith("src/")) {
      sentences.push(`${place}: imports ${target}, which is outside src/`);
      continue;
    }
    const module = moduleOf(target, modules);
    if (module !== undefined && (file === REGISTRY || own === ENTRY || module === moduleOf(file, modules))) continue;
    const floor = floorOf(target);
    if (floor === undefined) sentences.push(`${place}: imports ${target}, which stands on no floor`);
    else if (floor > own) sentences.push(`${place}: imports ${target}, which is on a higher floor`);
    else if (module !== undefined) {
      sentences.push(`${place}: imports ${target}; only ${REGISTRY} may import a module`);
    }
  }
  return sentences;
}

function main(): void {
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .map((path) => join("src", path).split(sep).join("/"))
    .filter((path) => path.endsWith(".ts"))
    .sort();
  const read = (file: string) => readFileSync(join(root, file), "utf8");
  const modules = modulesIn(files.includes(REGISTRY) ? read(REGISTRY) : "");
  const sentences = files.flatMap((file) => breaches(file, read(file), modules));
  for (const sentence of sentences) process.stderr.write(`${sentence}\n`);
  if (sentences.length > 0) process.exitCode = 1;
  else process.stdout.write(`${files.length} files import only from their own floor or below\n`);
}

if (import.meta.main) main();
