import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { titleOf } from "../support/processes.ts";
import { noRedis } from "../support/redis.ts";

/** The story that `npm run demo:failover` tells. */

const STORY = fileURLToPath(new URL("../../scripts/demo-failover.mjs", import.meta.url));

/** ms; a fresh clone installs the shop's dependencies first. */
const PATIENCE = 180_000;

/** What each step shows of the shopper's cart, in their order. */
const CARTS = [
  "1 lantern, 1 mug",
  "1 lantern, 1 mug",
  "1 lantern, 1 mug, 1 rope",
  "1 lantern, 1 mug, 1 rope",
  "1 compass",
  "1 compass",
  "1 compass, 1 mug",
  "1 compass, 1 mug",
];

/** The pids of processes on whose command line that is. */
function processesWith(word: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => titleOf(pid).includes(word));
}

test("nobody's cart loses anything while servers, nodes and the store are killed", { skip: noRedis }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-story-"));
  // Started as root, Holdfast's workers are somebody else.
  chmodSync(folder, 0o755);
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const child = spawn(process.execPath, [STORY, "--short"], {
    env: { ...process.env, TMPDIR: folder },
    stdio: ["ignore", "pipe", "inherit"],
    timeout: PATIENCE,
  });
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  const [code] = await once(child, "close");
  assert.equal(code, 0, stdout);
  const shown = [...stdout.matchAll(/The cart: (.*)\.$/gm)].map(([, cart]) => cart.split(", ").sort().join(", "));
  assert.deepEqual(shown, CARTS);
  for (const [, requests] of stdout.matchAll(/^ +Requests +(\d+)$/gm)) assert.ok(Number(requests) > 20, requests);
  assert.equal(stdout.match(/^ +Failures +none$/gm)?.length, 2);
  assert.equal(stdout.match(/^ +Carts +all 5 intact$/gm)?.length, 2);
  assert.match(stdout, /\n\nThe cart survived all of it\.\n$/);
  // It leaves nothing behind.
  assert.deepEqual(readdirSync(folder), []);
  assert.deepEqual(processesWith(folder), []);
});
