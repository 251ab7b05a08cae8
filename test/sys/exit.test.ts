import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { finish, NODE_FLAGS } from "../support/holdfast.ts";

test("exit ends the process with that status, after what was to be done at its end, and runs nothing more", async () => {
  const module = new URL("../../src/sys/exit.ts", import.meta.url);
  const script = `import { exit } from "${module}";
    import { writeSync } from "node:fs";
    process.on("exit", (code) => writeSync(1, "exit " + code));
    try { exit(7); } finally { writeSync(1, "more"); }`;
  const args = [...NODE_FLAGS, "--input-type=module", "-e", script];
  const { code, stdout } = await finish(spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] }));
  assert.equal(code, 7);
  assert.equal(stdout, "exit 7");
});
