/** The bench: every scenario in rounds A B C C B A, one server after another. */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, release, tmpdir, totalmem } from "node:os";
import { join, resolve } from "node:path";
import { builtInBackend, nginxBackend } from "./backend.ts";
import { type Certificate, type CertificateKind, makeCertificate } from "./certificates.ts";
import { chart } from "./chart.ts";
import { fastcgiApplication } from "./fastcgi.ts";
import { grpcServer } from "./grpc.ts";
import { h2loadVersion } from "./h2load.ts";
import { generatorName } from "./load.ts";
import {
  type Bench,
  freePort,
  measureIdle,
  measureLoad,
  measureStart,
  mostAttempts,
  type Sample,
  type Serving,
  serve,
  untilServing,
  warmUp,
} from "./measure.ts";
import { choose, type Options, parseOptions, usage } from "./options.ts";
import { killAll, runPinned, startPinned, stop } from "./process.ts";
import { mergeEarlier, type Report, rowsOf, type ScenarioResult, table } from "./report.ts";
import {
  type Ability,
  type IdleScenario,
  type LoadScenario,
  type Scenario,
  type StartScenario,
  scenarios,
  smallBody,
  writeFiles,
} from "./scenarios.ts";
import { beside, type Server, servers } from "./servers.ts";

const here = import.meta.dirname;
const checksProgram = join(here, "checks.ts");
const FRESH_RUNS = 3;
const CHECKS_SECONDS = 5;
const say = (text: string) => process.stdout.write(text);

/** 10,000 connections need more open files than most systems give: asks for them, and says how many there are. */
function raiseDescriptors(wanted: number): number {
  try {
    execFileSync("prlimit", [`--pid=${process.pid}`, `--nofile=${wanted}:${wanted}`], { stdio: "ignore" });
  } catch {
    // Only root may go above the hard limit; the soft limit is raised by Node itself.
  }
  return Number(/^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1] ?? 1024);
}

function removeLater(dir: string): void {
  process.once("exit", () => {
    killAll();
    rmSync(dir, { recursive: true, force: true });
  });
  for (const [signal, status] of [["SIGINT", 130] as const, ["SIGTERM", 143] as const, ["SIGHUP", 129] as const]) {
    process.once(signal, () => process.exit(status));
  }
}

async function startBackend(bench: Bench, withNginx: boolean): Promise<void> {
  const dir = join(bench.dir, "backend");
  mkdirSync(dir);
  const site = { dir, files: bench.files, port: bench.backendPort, descriptors: bench.descriptors };
  const output = join(dir, "output");
  const child = startPinned(bench.loadCores, withNginx ? nginxBackend(site) : builtInBackend(site), output);
  await untilServing(child, `http://127.0.0.1:${site.port}/small`, smallBody.length, output);
  // Whether those serve is seen through the servers.
  const { fastcgiPort, grpcPort } = bench;
  if (fastcgiPort !== undefined)
    startPinned(bench.loadCores, fastcgiApplication(fastcgiPort), join(dir, "fastcgi-output"));
  if (grpcPort !== undefined) startPinned(bench.loadCores, grpcServer(grpcPort), join(dir, "grpc-output"));
}

/** The samples of each server, undefined where one failed, and why they failed. */
class Rounds {
  readonly samples: ReadonlyMap<string, (Sample | undefined)[]>;
  readonly failures = new Map<string, string>();
  readonly #bench: Bench;
  readonly #scenario: LoadScenario | IdleScenario | StartScenario;

  constructor(bench: Bench, scenario: LoadScenario | IdleScenario | StartScenario, able: readonly Server[]) {
    this.#bench = bench;
    this.#scenario = scenario;
    this.samples = new Map(able.map((server) => [server.name, []]));
  }

  async add({ name }: Server, label: string, take: () => Promise<Sample>): Promise<void> {
    const { unit } = this.#scenario;
    say(`  ${this.#scenario.name} ${label} ${name}: `);
    let sample: Sample | undefined;
    try {
      sample = await take();
      say(`${sample.figure.toFixed(2)} ${unit}\n`);
    } catch (error) {
      this.failed(name, error);
    }
    this.samples.get(name)?.push(sample);
  }

  failed(server: string, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.failures.set(server, reason.replaceAll(this.#bench.dir, "").replaceAll(here, "bench"));
    say(`${reason}\n`);
  }
}

/**
 * All servers run at once, on the same core, and are loaded one after another in short turns, in one order and then in the
 * other: what changes on the machine meanwhile changes for all of them.
 */
async function inTurns(
  bench: Bench,
  { runs }: Options,
  scenario: LoadScenario,
  able: readonly Server[],
  rounds: Rounds,
) {
  const all: [Server, Serving][] = [];
  try {
    for (const server of able) {
      try {
        const serving = await serve(bench, server, scenario);
        all.push([server, serving]);
        await warmUp(bench, serving, scenario);
      } catch (error) {
        say(`  ${scenario.name} ${server.name}: `);
        rounds.failed(server.name, error);
      }
    }
    for (let round = 1; round <= runs; round++) {
      const order = round % 2 === 1 ? all : all.toReversed();
      for (const [server, serving] of order) {
        await rounds.add(server, `${round}/${runs}`, () => measureLoad(bench, serving, scenario));
      }
    }
  } finally {
    for (const [, { child }] of all) await stop(child);
  }
}

/** Why a server has no part in a scenario. */
function lack(
  { abilities }: Server,
  { needs, tls, streams }: LoadScenario | IdleScenario | StartScenario,
): string | undefined {
  if (!abilities.includes(needs)) return `has no ${needs} scenario`;
  if (streams !== undefined && !abilities.includes("http2")) return "has no HTTP/2";
  return tls === undefined || abilities.includes("tls") ? undefined : "has no TLS";
}

async function runScenario(
  bench: Bench,
  options: Options,
  scenario: LoadScenario | IdleScenario | StartScenario,
  chosen: readonly Server[],
): Promise<ScenarioResult> {
  const able = chosen.filter((server) => lack(server, scenario) === undefined);
  const rounds = new Rounds(bench, scenario, able);
  if (scenario.kind === "load") {
    await inTurns(bench, options, scenario, able, rounds);
  } else {
    // Fresh servers each time; their memory is not as noisy as their time.
    const runs = Math.min(options.runs, FRESH_RUNS);
    const take = (server: Server) =>
      scenario.kind === "idle" ? measureIdle(bench, server, scenario) : measureStart(bench, server, scenario);
    for (let run = 1; run <= runs; run++) {
      for (const server of able) await rounds.add(server, `${run}/${runs}`, () => take(server));
    }
  }
  return {
    name: scenario.name,
    title: scenario.title,
    unit: scenario.unit,
    measuredAt: new Date().toISOString(),
    seconds: bench.seconds,
    connections: Math.min(scenario.connections, bench.descriptors - 1000),
    rows: rowsOf(rounds.samples),
    without: chosen.flatMap((server) => {
      const reason = lack(server, scenario) ?? rounds.failures.get(server.name);
      return reason === undefined ? [] : { server: server.name, reason };
    }),
  };
}

/** The checks are measured by a program of their own; the last line it prints is its report as JSON. */
async function runChecks(bench: Bench, options: Options): Promise<unknown> {
  if (!existsSync(checksProgram)) {
    say("  checks: bench/checks.ts is not there yet\n");
    return undefined;
  }
  const command = {
    program: process.execPath,
    args: [checksProgram, "--seconds", `${CHECKS_SECONDS}`],
    env: { TMPDIR: bench.dir, BENCH_SERVER_CORE: `${bench.serverCore}`, BENCH_LOAD_CORES: bench.loadCores },
  };
  try {
    const output = await runPinned(
      `${options.serverCore},${options.loadCores}`,
      command,
      CHECKS_SECONDS * 1000 + 120_000,
    );
    say(output);
    const last = output.trim().split("\n").pop() ?? "";
    return last.startsWith("{") ? JSON.parse(last) : undefined;
  } catch (error) {
    say(`  checks: ${error instanceof Error ? error.message : error}\n`);
    return undefined;
  }
}

function present(options: Options): Server[] {
  const chosen = choose("server", servers, options.servers);
  if (options.beside !== "") chosen.push(beside(resolve(options.beside)));
  return chosen.filter((server) => {
    const reason = server.missing();
    if (reason !== undefined) say(`${server.name}: left out, ${reason}\n`);
    return reason === undefined;
  });
}

function certificatesIn(dir: string): ReadonlyMap<CertificateKind, Certificate> {
  const made = new Map<CertificateKind, Certificate>();
  for (const kind of ["rsa", "ecdsa"] as const) made.set(kind, makeCertificate(dir, kind));
  return made;
}

/** All that are installed, whatever is measured: a report may be merged with one of other scenarios. */
function generatorNames(): string {
  const version = h2loadVersion();
  return version === undefined ? generatorName() : `${generatorName()}, h2load ${version}`;
}

/** The scenarios asked for, less those that cannot be measured here. */
function measurable(options: Options): Scenario[] {
  let wanted = choose("scenario", scenarios, options.only);
  if (spawnSync("openssl", ["version"]).error !== undefined) {
    say("without the openssl command: no scenarios over TLS\n");
    wanted = wanted.filter((scenario) => scenario.kind === "checks" || scenario.tls === undefined);
  }
  if (h2loadVersion() === undefined) {
    say("without the h2load command (nghttp2-client): no scenarios over HTTP/2\n");
    wanted = wanted.filter((scenario) => scenario.kind === "checks" || scenario.streams === undefined);
  }
  return wanted;
}

async function run(options: Options): Promise<void> {
  const wanted = measurable(options);
  const chosen = present(options);
  const descriptors = raiseDescriptors(65_536);
  execFileSync("taskset", ["-a", "-p", "-c", options.loadCores, `${process.pid}`], { stdio: "ignore" });

  const dir = mkdtempSync(join(tmpdir(), "holdfast-bench-"));
  removeLater(dir);
  chmodSync(dir, 0o755);
  const files = join(dir, "files");
  mkdirSync(files);
  writeFiles(files, wanted);
  const withNginx = servers[0].missing() === undefined;
  const portFor = async (ability: Ability) =>
    wanted.some((one) => one.kind !== "checks" && one.needs === ability) ? await freePort() : undefined;
  const bench: Bench = {
    dir,
    files,
    backendPort: await freePort(),
    fastcgiPort: await portFor("fastcgi"),
    grpcPort: await portFor("grpc"),
    certificates: wanted.some((one) => one.kind !== "checks" && one.tls !== undefined)
      ? certificatesIn(dir)
      : new Map(),
    descriptors,
    serverCore: options.serverCore,
    loadCores: options.loadCores,
    seconds: options.seconds,
    warmup: options.warmup,
    warmupRequests: options.warmupRequests,
    attempts: mostAttempts,
  };
  let report: Report = {
    machine: {
      cpu: cpus()[0]?.model ?? "unknown",
      cores: cpus().length,
      memoryGiB: Math.round(totalmem() / 1024 ** 3),
      kernel: release(),
      node: process.versions.node,
      congestion: readFileSync("/proc/sys/net/ipv4/tcp_congestion_control", "latin1").trim(),
      generator: generatorNames(),
      backend: withNginx ? `nginx ${servers[0].version()}` : "built in (node:net)",
    },
    versions: Object.fromEntries(chosen.map((server) => [server.name, server.version()])),
    scenarios: [],
  };
  const { machine } = report;
  say(`${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}\n`);
  say(`TCP: ${machine.congestion}; load: ${machine.generator}; backend: ${machine.backend}; `);
  say(
    `${options.runs} rounds of ${options.seconds} s each, after ${options.warmup} s and ${options.warmupRequests} requests of warm-up\n`,
  );
  await startBackend(bench, withNginx);

  for (const scenario of wanted) {
    if (scenario.kind === "checks") report.checks = await runChecks(bench, options);
    else report.scenarios.push(await runScenario(bench, options, scenario, chosen));
  }
  for (const result of report.scenarios) say(table(result));

  mkdirSync(options.out, { recursive: true });
  const file = join(options.out, "latest.json");
  if (options.merge) {
    const order = scenarios.map((scenario) => scenario.name);
    report = mergeEarlier(report, file, order);
  }
  writeFileSync(file, `${JSON.stringify(report, undefined, 2)}\n`);
  writeFileSync(join(options.out, "latest.svg"), chart(report));
  say(`\nwritten: latest.json and latest.svg in ${options.out}\n`);
}

async function main(args: string[]): Promise<void> {
  const options = parseOptions(args, join(here, "results"));
  if (options.help) {
    say(usage);
    return;
  }
  if (options.list) {
    say(`scenarios\n${scenarios.map((one) => `  ${one.name.padEnd(20)} ${one.title}\n`).join("")}servers\n`);
    for (const server of servers) say(`  ${server.name.padEnd(20)} ${server.missing() ?? server.version()}\n`);
    return;
  }
  await run(options);
}

try {
  await main(process.argv.slice(2));
  process.exit(0);
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : error}\n`);
  process.exit(1);
}
