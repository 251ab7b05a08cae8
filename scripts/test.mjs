// npm test: every test under test/, or the files and options of node's own test runner given as arguments.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { ensureBundle } from "./build.mjs";
import { ensureDependencies, ensureNode, main, ROOT } from "./setup.mjs";

/** How long a test may take, ms: one that was made larger (test/support/README.md) as long as that needs. */
const PATIENCE = 300_000;
const LONG = 3_600_000;

await main(async () => {
  ensureDependencies(ROOT, { dev: true });
  await ensureBundle();
  const node = ensureNode();
  const args = process.argv.slice(2);
  const options = args.filter((arg) => arg.startsWith("-"));
  const named = args.filter((arg) => !arg.startsWith("-"));
  const files = named.length > 0 ? named : testsUnder(join(ROOT, "test")).sort();
  for (const file of named.filter((name) => !/[*?{[]/.test(name) && !existsSync(resolve(ROOT, name)))) {
    process.stderr.write(`There is no test file "${file}".\n`);
    return 1;
  }
  const scratch = mkdtempSync(join(tmpdir(), "holdfast-test-"));
  const tap = join(scratch, "results.tap");
  const settings = [
    "--test",
    `--test-concurrency=${Math.max(2, availableParallelism())}`,
    `--test-timeout=${Object.keys(process.env).some((name) => name.startsWith("HOLDFAST_CHAOS_")) ? LONG : PATIENCE}`,
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    "--test-reporter=tap",
    `--test-reporter-destination=${tap}`,
    "--disable-warning=ExperimentalWarning",
  ];
  try {
    const status = await run(node, [...settings, ...options, ...files]);
    const closing = closingLines(tap);
    process.stdout.write(closing);
    // .ci/run installs every peer: a test that found its own missing there has tested nothing.
    if (process.env.CI && !/^# skipped 0$/m.test(closing)) {
      process.stdout.write("\nFailed: tests were skipped, which continuous integration does not allow.\n");
      return 1;
    }
    return status;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});

function testsUnder(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return testsUnder(path);
    return entry.name.endsWith(".test.ts") ? [relative(ROOT, path)] : [];
  });
}

/** The counts at the end of a TAP report (`# tests 12`, `# pass 12` …), which scripts read more easily than the report. */
function closingLines(file) {
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  const from = lines.findLastIndex((line) => !line.startsWith("# ")) + 1;
  return `\n${lines.slice(from).join("\n")}\n`;
}

/** Runs the program in the checkout, passing an interruption on; resolves to its exit status. */
function run(program, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: ROOT, stdio: "inherit" });
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
    child.on("error", reject);
    child.on("exit", (code) => resolve(code ?? 1));
  });
}
