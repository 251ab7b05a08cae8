// npm run conformance -- DIR: runs nginx's own test suite (a checkout of nginx-tests that the user has) against bin/holdfast.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "./build.mjs";
import { ensureDependencies, ensureNode, main, ROOT } from "./setup.mjs";

const USAGE = `usage: npm run conformance -- DIR [--files LIST] [--jobs N] [--user NAME] [--write]
DIR is a checkout of github.com/nginx/nginx-tests; perl and what its files use have to be installed.
  --files LIST   the files named in LIST, one a line; without it, all
  --jobs N       how many at a time
  --user NAME    whom they run as; they are no tests for root
  --write        keeps the table in docs/conformance.md
`;
/** A file that takes longer has hung. */
const PATIENCE_MS = 180_000;
const PAGE = join(ROOT, "docs", "conformance.md");
const BEGIN = "<!-- the table, written by npm run conformance -->";
const END = "<!-- the end of the table -->";

await main(async () => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      files: { type: "string" },
      jobs: { type: "string", default: String(availableParallelism()) },
      user: { type: "string" },
      write: { type: "boolean", default: false },
    },
  });
  const [directory] = positionals;
  if (directory === undefined || !existsSync(join(directory, "lib", "Test", "Nginx.pm"))) {
    process.stderr.write(directory === undefined ? USAGE : `"${directory}" is no checkout of nginx-tests\n${USAGE}`);
    return 1;
  }
  const owner = values.user === undefined ? {} : idsOf(values.user);
  if (process.getuid() === 0 && values.user === undefined) {
    process.stderr.write("nginx's tests are for a plain user: name one with --user\n");
    return 1;
  }
  ensureDependencies();
  ensureNode();
  await ensureBundle();
  const files = filesIn(directory, values.files);
  const results = await runAll(files, Number(values.jobs), { cwd: resolve(directory), ...owner });
  const report = reportOf(results);
  process.stdout.write(`\n${report}`);
  if (values.write) keep(report, directory);
  return results.some(({ verdict }) => verdict === "fails") ? 1 : 0;
});

function idsOf(user) {
  const id = (option) => Number(spawnSync("id", [option, user], { encoding: "utf8" }).stdout);
  const [uid, gid] = [id("-u"), id("-g")];
  if (!uid) throw new Error(`there is no plain user "${user}"`);
  return { uid, gid };
}

function filesIn(directory, list) {
  const all = readdirSync(directory).filter((name) => name.endsWith(".t"));
  if (list === undefined) return all.sort();
  const wanted = readFileSync(list, "utf8")
    .split("\n")
    .filter((line) => line.endsWith(".t"));
  return wanted.filter((name) => all.includes(name)).sort();
}

async function runAll(files, jobs, options) {
  const results = [];
  const waiting = [...files];
  const worker = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const result = await run(file, options);
      results.push(result);
      process.stderr.write(`${result.file} ${result.verdict}${result.why === "" ? "" : `: ${result.why}`}\n`);
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  return results.sort((a, b) => (a.file < b.file ? -1 : 1));
}

/** Runs one file; resolves to what its TAP says. */
function run(file, options) {
  const child = spawn("perl", [file], {
    ...options,
    // A group of its own: a test that hangs is ended with the servers it started.
    detached: true,
    env: { ...process.env, TEST_NGINX_BINARY: join(ROOT, "bin", "holdfast") },
    stdio: ["ignore", "pipe", "ignore"],
  });
  let tap = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    tap += text;
  });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    process.kill(-child.pid, "SIGKILL");
  }, PATIENCE_MS);
  return new Promise((done, failed) => {
    child.on("error", failed);
    // Not "close": a server left behind by a test would hold the pipe open.
    child.on("exit", (status) => {
      clearTimeout(timer);
      setImmediate(() => done(resultOf(file, tap, late ? `hung for ${PATIENCE_MS / 1000} s` : "", status)));
    });
  });
}

/** What a file's TAP output says; a test marked TODO is not expected to pass. */
function resultOf(file, tap, late, status) {
  const skipped = /^1\.\.0 # SKIP (.*)$/im.exec(tap)?.[1];
  if (skipped !== undefined) return { file, verdict: "skipped", passed: 0, failed: [], why: skipped };
  const planned = Number(/^1\.\.(\d+)/m.exec(tap)?.[1] ?? 0);
  const lines = tap.split("\n").filter((line) => /^(not )?ok \d+/.test(line));
  const failed = lines.filter((line) => line.startsWith("not ") && !/# TODO/i.test(line));
  const missing = planned - lines.length;
  const names = failed.map((line) => line.replace(/^not ok \d+( - )?/, ""));
  if (late !== "") names.push(late);
  else if (planned === 0) names.push(`ended with status ${status} before its plan`);
  else if (missing > 0) names.push(`${missing} not run`);
  return {
    file,
    verdict: names.length === 0 ? "passes" : "fails",
    passed: lines.length - failed.length,
    failed: names,
    why: names.join("; "),
  };
}

/** The table by module (the first word of a file's name), and what does not pass. */
function reportOf(results) {
  const modules = new Map();
  for (const result of results) {
    const name = result.file.replace(/\.t$/, "").split("_")[0];
    modules.set(name, [...(modules.get(name) ?? []), result]);
  }
  const row = (name, of) => {
    const count = (verdict) => of.filter((result) => result.verdict === verdict).length;
    const tests = of.reduce((sum, { passed }) => sum + passed, 0);
    const broken = of.reduce((sum, { failed }) => sum + failed.length, 0);
    return `| ${name} | ${of.length} | ${count("passes")} | ${count("fails")} | ${count("skipped")} | ${tests} | ${broken} |\n`;
  };
  let text =
    "| module | files | pass | fail | skip | tests passed | tests failed |\n| --- | --- | --- | --- | --- | --- | --- |\n";
  for (const [name, of] of [...modules].sort()) text += row(name, of);
  text += row("**all**", results);
  const part = (title, verdict) => {
    const of = results.filter((result) => result.verdict === verdict);
    if (of.length > 0) text += `\n${title}\n\n${of.map(({ file, why }) => `- \`${file}\`: ${why}\n`).join("")}`;
  };
  part("Files that fail:", "fails");
  part("Files that skip themselves:", "skipped");
  return text;
}

/** Puts the report between its marks in the page. */
function keep(report, directory) {
  const page = readFileSync(PAGE, "utf8");
  const from = page.indexOf(BEGIN);
  const to = page.indexOf(END);
  if (from < 0 || to < from) throw new Error(`docs/conformance.md has no marks for the table`);
  const commit = spawnSync("git", ["-C", directory, "log", "-1", "--format=%h of %cs"], { encoding: "utf8" });
  const source = commit.status === 0 ? `, nginx-tests at ${commit.stdout.trim()}` : "";
  const date = new Date().toISOString().slice(0, 10);
  const table = `${BEGIN}\n\nLast run: ${date}${source}.\n\n${report}\n`;
  writeFileSync(PAGE, page.slice(0, from) + table + page.slice(to));
}
