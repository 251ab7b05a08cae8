/**
 * Writes docs/directives.md from the declarations of every directive.
 *
 *     node scripts/directives-doc.ts [--check] [MODULE]
 *
 * MODULE (default src/program.ts) is the file that exports the tables: each export that is a table, a list of tables, or
 * an object with such a list as `directives` counts. With --check nothing is written, and the exit status is 1 where the
 * page is out of date.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { renderReference } from "../src/config/reference.ts";
import type { Directives, Specs } from "../src/config/schema.ts";

const ROOT = resolve(import.meta.dirname, "..");
const PAGE = resolve(ROOT, "docs/directives.md");

function isTable(value: unknown): value is Directives<Specs> {
  return typeof value === "object" && value !== null && "name" in value && "specs" in value && "own" in value;
}

function tablesIn(value: unknown): Directives<Specs>[] {
  if (isTable(value)) return [value];
  if (Array.isArray(value)) return value.filter(isTable);
  if (typeof value === "object" && value !== null && "directives" in value) return tablesIn(value.directives);
  return [];
}

function current(): string | undefined {
  try {
    return readFileSync(PAGE, "utf8");
  } catch {
    return undefined;
  }
}

async function main(args: readonly string[]): Promise<number> {
  const module = args.find((arg) => !arg.startsWith("-")) ?? "src/program.ts";
  const exports: Record<string, unknown> = await import(pathToFileURL(resolve(ROOT, module)).href);
  const tables = new Set(Object.values(exports).flatMap(tablesIn));
  if (tables.size === 0) {
    console.error(`${module} exports no table of directives`);
    return 1;
  }
  const page = renderReference([...tables]);
  if (args.includes("--check")) {
    if (current() === page) return 0;
    console.error("docs/directives.md is out of date: run node scripts/directives-doc.ts");
    return 1;
  }
  mkdirSync(resolve(PAGE, ".."), { recursive: true });
  writeFileSync(PAGE, page);
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
