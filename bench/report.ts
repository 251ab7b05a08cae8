/** What a run found: the shape of latest.json, and the table on the terminal. */
import { readFileSync } from "node:fs";
import { disturbance, type Sample } from "./measure.ts";
import { ratioPerRound, type Spread, spread } from "./statistics.ts";

export interface Row {
  server: string;
  /** In the unit of the scenario. */
  figure: Spread;
  /** To nginx, round by round; absent where nginx was not measured. */
  ratio: Spread | undefined;
  user: Spread | undefined;
  system: Spread | undefined;
  requestsPerSecond: Spread | undefined;
  p99Ms: Spread | undefined;
  memoryMiB: Spread | undefined;
  load: Spread | undefined;
  ownShare: Spread | undefined;
  foreignShare: Spread | undefined;
  rounds: (Sample | undefined)[];
}

export interface ScenarioResult {
  name: string;
  title: string;
  unit: string;
  measuredAt: string;
  /** Length of a measurement in s, and how many connections were open. */
  seconds: number;
  connections: number;
  rows: Row[];
  /** Servers that were asked for and have no figure, each with the reason. */
  without: { server: string; reason: string }[];
}

/** The machine without its name: what a reader needs to judge the figures. */
export interface Machine {
  cpu: string;
  cores: number;
  memoryGiB: number;
  kernel: string;
  node: string;
  /** The congestion control of TCP: some pace what they send, over loopback too. */
  congestion: string;
  generator: string;
  backend: string;
}

export interface Report {
  machine: Machine;
  versions: Record<string, string>;
  scenarios: ScenarioResult[];
  /** What bench/checks.ts reported, in its own shape. */
  checks?: unknown;
}

export const reference = "nginx";

/** Sums up the rounds of one scenario; `rounds` holds a sample per server and round, undefined where one failed. */
export function rowsOf(rounds: ReadonlyMap<string, (Sample | undefined)[]>): Row[] {
  const figures = (server: string) => (rounds.get(server) ?? []).map((sample) => sample?.figure);
  const rows: Row[] = [];
  for (const [server, samples] of rounds) {
    const over = (pick: (sample: Sample) => number | undefined): Spread | undefined =>
      spread(samples.flatMap((sample) => (sample === undefined ? [] : (pick(sample) ?? []))));
    const figure = over((sample) => sample.figure);
    if (figure === undefined) continue;
    rows.push({
      server,
      figure,
      ratio: ratioPerRound(figures(server), figures(reference)),
      user: over((sample) => sample.user),
      system: over((sample) => sample.system),
      requestsPerSecond: over((sample) => sample.requestsPerSecond),
      p99Ms: over((sample) => sample.p99Ms),
      memoryMiB: over((sample) => sample.memoryMiB),
      load: over((sample) => sample.load),
      ownShare: over((sample) => sample.ownShare),
      foreignShare: over((sample) => sample.foreignShare),
      rounds: samples,
    });
  }
  return rows;
}

function number(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en-US");
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}

const percent = (share: Spread | undefined) => (share === undefined ? "" : `${Math.round(share.median * 100)} %`);
const plain = (value: Spread | undefined) => (value === undefined ? "" : number(value.median));

function ranged(value: Spread | undefined, digits: number): string {
  if (value === undefined) return "";
  const { median, lower, upper } = value;
  return `${median.toFixed(digits)} (${lower.toFixed(digits)}-${upper.toFixed(digits)})`;
}

/** The table of one scenario, with a remark for each thing that makes a figure less trustworthy. */
export function table(result: ScenarioResult): string {
  const cost = ["server", result.unit, "user", "system", `x ${reference} (quartiles)`];
  const head = [...cost, "load", "requests/s", "p99 ms", "MiB", "core", "others"];
  const lines = result.rows.map((row) => [
    row.server,
    number(row.figure.median),
    plain(row.user),
    plain(row.system),
    ranged(row.ratio, 2),
    plain(row.load),
    plain(row.requestsPerSecond),
    plain(row.p99Ms),
    plain(row.memoryMiB),
    percent(row.ownShare),
    percent(row.foreignShare),
  ]);
  const widths = head.map((title, column) => Math.max(title.length, ...lines.map((line) => line[column].length)));
  const show = (cells: string[]) =>
    cells.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join("  ");
  const text = [`\n${result.title}`, show(head), ...lines.map(show)];
  for (const { server, reason } of result.without) text.push(`${server}: ${reason}`);
  for (const remark of remarks(result)) text.push(`! ${remark}`);
  return `${text.join("\n")}\n`;
}

function remarks(result: ScenarioResult): string[] {
  const found: string[] = [];
  for (const { server, ratio, foreignShare } of result.rows) {
    if (foreignShare !== undefined && foreignShare.max > disturbance) {
      found.push(`${server}: others used up to ${Math.round(foreignShare.max * 100)} % of its core`);
    }
    if (ratio !== undefined && ratio.upper > ratio.lower * 1.25) {
      found.push(`${server}: the quartiles of its rounds differ by more than a quarter`);
    }
  }
  if (!result.rows.some((row) => row.server === reference)) found.push(`no ratios: ${reference} was not measured`);
  return found;
}

/**
 * Puts the scenarios of an earlier report that this one lacks beside its own, if both come from the same machine with
 * the same versions; a figure of another setting must not stand in the same chart.
 */
export function mergeEarlier(report: Report, file: string, order: readonly string[]): Report {
  const earlier = readReport(file);
  if (earlier === undefined) return report;
  const setting = (of: Report) => JSON.stringify(of.machine);
  const conflict = Object.entries(report.versions).some(
    ([server, version]) => server in earlier.versions && earlier.versions[server] !== version,
  );
  if (conflict || setting(earlier) !== setting(report)) {
    throw new Error("--merge: the earlier report comes from another machine or from other versions; nothing was kept");
  }
  const own = new Set(report.scenarios.map((scenario) => scenario.name));
  const all = [...report.scenarios, ...earlier.scenarios.filter((scenario) => !own.has(scenario.name))];
  all.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  return {
    machine: report.machine,
    versions: { ...earlier.versions, ...report.versions },
    scenarios: all,
    checks: report.checks ?? earlier.checks,
  };
}

function isReport(value: unknown): value is Report {
  if (typeof value !== "object" || value === null) return false;
  return "machine" in value && "versions" in value && "scenarios" in value && Array.isArray(value.scenarios);
}

/** Undefined when there is no such file; throws when it is not one of ours. */
function readReport(file: string): Report | undefined {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
  const value: unknown = JSON.parse(text);
  if (!isReport(value)) throw new Error(`--merge: ${file} is not a report of this bench`);
  return value;
}
