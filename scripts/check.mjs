// npm run check: everything that can be said about the code without running it. Every step runs; all failures show.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { ensureDependencies, ensureNode, main, ROOT } from "./setup.mjs";

await main(() => {
  ensureDependencies(ROOT, { dev: true });
  const node = ensureNode();
  const tool = (path) => join(ROOT, "node_modules", path);
  const steps = [
    ["types", [tool("typescript/bin/tsc"), "-p", "."]],
    ["lint and format", [tool("@biomejs/biome/bin/biome"), "check", "--max-diagnostics=200"]],
    ["unused code", [tool("knip/bin/knip.js")]],
    // Tests are no users: in production mode knip reads only what knip.json marks with "!".
    ["exports that only tests use", [tool("knip/bin/knip.js"), "--production", "--exports"]],
    ["layers", ["scripts/floors.ts"]],
    ["directive reference", ["scripts/directives-doc.ts", "--check"]],
  ];

  const failed = [];
  for (const [name, args] of steps) {
    const started = Date.now();
    process.stdout.write(`\n── ${name}\n`);
    const { status } = spawnSync(node, ["--disable-warning=ExperimentalWarning", ...args], {
      cwd: ROOT,
      stdio: ["ignore", "inherit", "inherit"],
    });
    if (status !== 0) failed.push(name);
    process.stdout.write(`${status === 0 ? "ok" : "FAILED"} (${((Date.now() - started) / 1000).toFixed(1)} s)\n`);
  }
  process.stdout.write(failed.length === 0 ? "\nAll checks passed.\n" : `\nFailed: ${failed.join(", ")}.\n`);
  return failed.length === 0 ? 0 : 1;
});
