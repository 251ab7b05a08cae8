// npm run bench: sets up what is measured beside Holdfast, then starts bench/main.ts with a fitting Node.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { ensureBundle } from "./build.mjs";
import { ensureDependencies, ensureNode, main, ROOT } from "./setup.mjs";

const bench = join(ROOT, "bench");

await main(async () => {
  try {
    ensureDependencies(bench);
  } catch (error) {
    process.stderr.write(`${error.message}\nGoing on without the peers that come from npm.\n`);
  }
  ensureDependencies();
  await ensureBundle();
  const node = ensureNode();
  const child = spawn(node, [join(bench, "main.ts"), ...process.argv.slice(2)], { stdio: "inherit" });
  // Ctrl-C reaches the child by itself: it ends everything it started, and its status becomes ours.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code) => resolve(code ?? 1));
  });
});
