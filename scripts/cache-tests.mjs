// npm run cache-tests -- DIR: runs the public tests of HTTP caches (a checkout of http-tests/cache-tests that the user has)
// against bin/holdfast, and against nginx beside it.
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { ensureBundle } from "./build.mjs";
import { ensureDependencies, ensureNode, main, ROOT } from "./setup.mjs";

const USAGE = `usage: npm run cache-tests -- DIR [--nginx PATH]... [--differences] [--write]
DIR is a checkout of github.com/http-tests/cache-tests (its npm packages are needed for tests of interim responses only).
  --nginx PATH     an nginx to compare with; may be repeated
  --differences    lists the tests that do not end in the same way everywhere
  --write          keeps the table in docs/cache.md
`;
const PAGE = join(ROOT, "docs", "cache.md");
const BEGIN = "<!-- the table, written by npm run cache-tests -->";
const END = "<!-- the end of the table -->";

/** The suite's kinds of tests, and what it says where one passes. */
const KINDS = [
  ["required", "pass"],
  ["optimal", "pass"],
  ["check", "yes"],
];

/** The configuration that the suite's own docker/nginx has, with other ports and paths. */
const configuration = (port, origin) => `events {} http {
  proxy_cache_path cache levels=1:2 keys_zone=my-cache:8m max_size=1000m inactive=600m;
  proxy_temp_path cache/tmp;
  access_log off;
  server {
    listen 127.0.0.1:${port};
    location / { proxy_pass http://127.0.0.1:${origin}; proxy_cache my-cache; proxy_cache_revalidate on; proxy_http_version 1.1; }
  }
}
`;

await main(async () => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      nginx: { type: "string", multiple: true, default: [] },
      differences: { type: "boolean", default: false },
      write: { type: "boolean", default: false },
    },
  });
  const directory = resolve(positionals[0] ?? "");
  if (positionals.length !== 1 || !existsSync(join(directory, "test-engine", "cli.mjs"))) {
    process.stderr.write(USAGE);
    return 1;
  }
  ensureDependencies();
  ensureNode();
  await ensureBundle();
  const programs = [join(ROOT, "bin", "holdfast"), ...values.nginx].map((path) => ({ path, name: nameOf(path) }));
  const load = (file) => import(pathToFileURL(join(directory, file)).href);
  const { default: suites } = await load("tests/index.mjs");
  const { determineTestResult, resultTypes } = await load("test-engine/lib/results.mjs");
  const symbols = new Map(Object.entries(resultTypes).map(([name, type]) => [type, name]));

  const origin = await freePort();
  const server = engine(directory, "test-engine/server/server.mjs", { port: origin, pidfile: "/dev/null" }, "ignore");
  try {
    await answers(origin);
    for (const program of programs) {
      const results = await run(program, directory, origin);
      program.said = new Map(
        suites
          .flatMap(({ tests }) => tests)
          .map(({ id }) => [id, symbols.get(determineTestResult(suites, id, results))]),
      );
      program.why = results;
    }
  } finally {
    server.kill();
  }
  const report = reportOf(suites, programs);
  process.stdout.write(`\n${report}`);
  if (values.differences) process.stdout.write(differences(suites, programs));
  if (values.write) keep(report, directory);
  return 0;
});

/** `nginx 1.31.2`, as `-v` says. */
function nameOf(path) {
  const { stdout, stderr } = spawnSync(path, ["-v"], { encoding: "utf8" });
  const [, name, version] = /(\w+)\/([\d.]+)/.exec(stdout + stderr) ?? [];
  return name === "nginx" ? `nginx ${version}` : "Holdfast";
}

/** Runs a program of the suite with what npm would hand it. */
function engine(directory, file, config, output) {
  const named = Object.entries({ protocol: "http", base: "", id: "", ...config });
  const env = Object.fromEntries(named.map(([name, value]) => [`npm_package_config_${name}`, String(value)]));
  return spawn(process.execPath, ["--no-warnings", file], {
    cwd: directory,
    env: { ...process.env, ...env },
    stdio: ["ignore", output, "inherit"],
  });
}

/** What the suite says of a program: true, or why not, by the id of the test. */
async function run({ path, name }, directory, origin) {
  const prefix = mkdtempSync(join(tmpdir(), "cache-tests-"));
  const port = await freePort();
  chmodSync(prefix, 0o755);
  for (const part of ["conf", "logs"]) mkdirSync(join(prefix, part));
  writeFileSync(join(prefix, "conf", "nginx.conf"), configuration(port, origin));
  const globals = `daemon off; pid ${prefix}/nginx.pid; error_log ${prefix}/error.log;`;
  const args = ["-p", prefix, "-c", join(prefix, "conf", "nginx.conf"), "-g", globals];
  const child = spawn(path, args, { stdio: ["ignore", "inherit", "inherit"] });
  const exited = new Promise((done) => child.on("exit", done));
  try {
    await answers(port);
    process.stderr.write(`${name}: running\n`);
    const client = engine(directory, "test-engine/cli.mjs", { base: `http://127.0.0.1:${port}` }, "pipe");
    let text = "";
    client.stdout.setEncoding("utf8").on("data", (piece) => {
      text += piece;
    });
    await new Promise((done) => client.on("close", done));
    return JSON.parse(text.slice(text.indexOf("{")));
  } finally {
    child.kill("SIGQUIT");
    await exited;
    rmSync(prefix, { recursive: true, force: true });
  }
}

function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

async function answers(port) {
  const end = Date.now() + 20_000;
  while (Date.now() < end) {
    const open = await new Promise((done) => {
      const socket = connect(port, "127.0.0.1", () => done(true));
      socket.on("error", () => done(false));
      socket.on("connect", () => socket.end());
    });
    if (open) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`nothing listens on port ${port}`);
}

/** How many tests pass, by group and program: required ones, optimal ones, and those that are only asked. */
function reportOf(suites, programs) {
  const cells = (texts) => `| ${texts.join(" | ")} |\n`;
  const row = (name, tests) =>
    cells([name, ...programs.map(({ said }) => KINDS.map((kind) => share(tests, said, kind)).join(" · "))]);
  let text = cells(["group", ...programs.map(({ name }) => name)]) + cells(["---", ...programs.map(() => "---")]);
  for (const { name, tests } of suites) text += row(name, tests);
  return (
    text +
    row(
      "**all**",
      suites.flatMap(({ tests }) => tests),
    )
  );
}

/** `12/14` of the tests of a kind; `–` where there are none. */
function share(tests, said, [kind, passed]) {
  const of = tests.filter((test) => (test.kind ?? "required") === kind && said.get(test.id) !== "untested");
  return of.length === 0 ? "–" : `${of.filter(({ id }) => said.get(id) === passed).length}/${of.length}`;
}

/** The tests that do not end in the same way everywhere, and those that fail everywhere. */
function differences(suites, programs) {
  let text = "";
  for (const { name, tests } of suites) {
    for (const { id, kind = "required" } of tests) {
      const said = programs.map((program) => program.said.get(id));
      const alike = said.every((one) => one === said[0]);
      if (alike && !["fail", "setup_fail", "harness_fail"].includes(said[0])) continue;
      const why = programs.map((program) => program.why[id]?.[1]).find((sentence) => sentence !== undefined);
      text += `${alike ? "=" : "!"} ${name} · ${id} (${kind}): ${said.join(" / ")}: ${why}\n`;
    }
  }
  return text;
}

/** Puts the report between its marks in the page. */
function keep(report, directory) {
  const page = readFileSync(PAGE, "utf8");
  const from = page.indexOf(BEGIN);
  const to = page.indexOf(END);
  if (from < 0 || to < from) throw new Error("docs/cache.md has no marks for the table");
  const commit = spawnSync("git", ["-C", directory, "log", "-1", "--format=%h of %cs"], { encoding: "utf8" });
  const source = commit.status === 0 ? `, cache-tests at ${commit.stdout.trim()}` : "";
  const date = new Date().toISOString().slice(0, 10);
  writeFileSync(PAGE, `${page.slice(0, from)}${BEGIN}\n\nLast run: ${date}${source}.\n\n${report}\n${page.slice(to)}`);
}
