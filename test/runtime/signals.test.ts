import assert from "node:assert/strict";
import { test } from "node:test";
import { Signals } from "../../src/runtime/signals.ts";
import { logFaultsTo } from "../../src/sys/guard.ts";
import { waitFor } from "../support/wait.ts";

const logged: string[] = [];
logFaultsTo({ write: (level, message) => logged.push(`[${level}] ${message}`) });

function faults(): string[] {
  return logged.splice(0).map((line) => line.replace(/ at .*/, ""));
}

test("an exception in a signal's handler is logged, and ends neither the process nor the other signals", async () => {
  const signals = new Signals(["SIGWINCH", "SIGALRM"]);
  process.kill(process.pid, "SIGWINCH");
  process.kill(process.pid, "SIGALRM");
  // Both have arrived once a later turn of the loop has run.
  await new Promise((resolve) => setTimeout(resolve, 50));
  const answered: string[] = [];
  signals.answer((name) => {
    answered.push(name);
    if (name === "SIGWINCH") throw new Error("no reopening");
  });
  await waitFor(() => answered.length === 2, "the signals that waited");
  assert.deepEqual(faults(), ["[alert] exception: Error: no reopening"]);
  process.kill(process.pid, "SIGWINCH");
  await waitFor(() => answered.length === 3, "a signal that comes later");
  assert.deepEqual(faults(), ["[alert] exception: Error: no reopening"]);
});
