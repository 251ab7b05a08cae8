/**
 * Writes docs/directives.md from the declarations of every directive.
 *
 *     node scripts/directives-doc.ts [--check]
 *
 * With --check nothing is written, and the exit status is 1 where the page is out of date.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { renderReference } from "../src/config/reference.ts";
import { program } from "../src/program.ts";
import { tablesOf } from "../src/runtime/build_cycle.ts";

const PAGE = resolve(import.meta.dirname, "../docs/directives.md");

function current(): string | undefined {
  try {
    return readFileSync(PAGE, "utf8");
  } catch {
    return undefined;
  }
}

const page = renderReference(tablesOf(program()));
if (!process.argv.includes("--check")) {
  mkdirSync(resolve(PAGE, ".."), { recursive: true });
  writeFileSync(PAGE, page);
} else if (current() !== page) {
  console.error(
    "docs/directives.md is out of date: run scripts/directives-doc.ts with the Node that node scripts/setup.mjs names",
  );
  process.exitCode = 1;
}
