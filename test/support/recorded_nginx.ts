import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * What nginx of the version that is followed does: distributions have older ones, which do not know all of its directives. A
 * real one says it where HOLDFAST_NGINX names its binary; else it is read from test/recorded, where HOLDFAST_RECORD=1 writes
 * what the real one has said.
 */

/** Lines about each case, by its name. */
export type Said = ReadonlyMap<string, readonly string[]>;

/** The binary of HOLDFAST_NGINX. */
const FOLLOWED_NGINX = process.env.HOLDFAST_NGINX;

/**
 * Compares what is `said` with what nginx says, who is asked by `ask` where there is one. `name`: of the file in test/recorded;
 * `others`: cases that must differ, and why (docs/compatibility.md).
 */
export async function assertAsNginx(
  name: string,
  said: Said,
  ask: (binary: string) => Promise<Said>,
  others: Readonly<Record<string, string>> = {},
): Promise<void> {
  const recorded = fileURLToPath(new URL(`../recorded/${name}.txt`, import.meta.url));
  if (FOLLOWED_NGINX !== undefined) {
    const live = text(await ask(FOLLOWED_NGINX));
    if (process.env.HOLDFAST_RECORD === "1") {
      mkdirSync(dirname(recorded), { recursive: true });
      writeFileSync(recorded, live);
    }
    if (process.env.HOLDFAST_RECORD !== "1")
      assert.equal(readFileSync(recorded, "utf8"), live, "nginx as it was recorded");
  }
  const expected = read(readFileSync(recorded, "utf8"));
  const differing: string[] = [];
  for (const [what, lines] of said) {
    const theirs = expected.get(what) ?? ["(nothing is recorded)"];
    const same = lines.join("\n") === theirs.join("\n");
    if (others[what] !== undefined) {
      if (same) differing.push(`${what}\n  is as in nginx, though it should not: ${others[what]}`);
      continue;
    }
    if (same) continue;
    const only = (ours: readonly string[], others: readonly string[], mark: string) =>
      ours.filter((line) => !others.includes(line)).map((line) => `  ${mark} ${line}`);
    differing.push([what, ...only(theirs, lines, "nginx   "), ...only(lines, theirs, "Holdfast")].join("\n"));
  }
  assert.deepEqual([...expected.keys()], [...said.keys()], "the cases are those that were recorded");
  if (differing.length > 0) assert.fail(`not as nginx (by which lines differ):\n${differing.join("\n\n")}`);
}

const HEAD = "== ";

function text(said: Said): string {
  return [...said].map(([what, lines]) => `${HEAD}${what}\n${lines.map((line) => `${line}\n`).join("")}`).join("\n");
}

function read(file: string): Map<string, string[]> {
  const said = new Map<string, string[]>();
  let lines: string[] = [];
  for (const line of file.split("\n")) {
    if (line.startsWith(HEAD)) {
      lines = [];
      said.set(line.slice(HEAD.length), lines);
    } else if (line !== "") {
      lines.push(line);
    }
  }
  return said;
}
