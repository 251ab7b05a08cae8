import { duration } from "../../health/change.ts";
import type { Opinion } from "../group/opinions.ts";
import type { Matrix, NodeRow } from "../matrix.ts";
import { wordOf } from "../report/report.ts";
import { refusedBatches } from "../sync/store_row.ts";
import { troubles } from "./words.ts";

/** The matrix for a terminal: lines of a byte string, columns aligned. */
export function statusText(matrix: Matrix): string[] {
  const { cluster, self, at, differences } = matrix;
  const wrong = [...troubles(matrix), ...differences];
  return [
    `cluster ${cluster} as ${self} sees it, ${new Date(at).toISOString()}`,
    "",
    ...(wrong.length === 0 ? ["all that are checked are up, for all nodes"] : wrong),
    "",
    ...table(nodes(matrix)),
    "",
    ...table(nodeMatrix(matrix)),
    ...serverMatrix(matrix),
    ...storeTable(matrix),
  ];
}

function storeTable({ store, at }: Matrix): string[] {
  if (store === undefined) return [];
  const state = `${store.connected ? "connected" : "AWAY"} for ${duration(Math.max(0, at - store.since))}`;
  const figures = [store.sent, store.received, store.missed, refusedBatches(store)];
  const heading = ["STORE", "IS", "SENT", "RECEIVED", "MISSED", "REFUSED", "SHARES"];
  return ["", ...table([heading, [store.store, state, ...figures.map(String), store.shared.join(", ")]])];
}

const HEADING = [
  "NODE",
  "ADDRESS",
  "STATE",
  "REACHED BY",
  "VERSION",
  "CONFIGURATION",
  "CLOCK",
  "OPEN",
  "SERVED",
  "HOLDS",
];

function nodes({ nodes: all, addresses }: Matrix): string[][] {
  const holds = (node: string) =>
    addresses
      .filter(({ holders }) => holders.includes(node))
      .map(({ address }) => address)
      .join(" ");
  const lines = all.map(({ name, address, self, facts, left, verdict, seen, clockAhead }) => {
    const states = Object.values(seen);
    const reached = `${states.filter(({ state }) => state === "up").length} of ${states.length}`;
    const state = facts?.state ?? (left === true ? "left" : verdict === "down" ? "down" : "not heard");
    const said =
      facts === undefined
        ? []
        : [
            facts.version,
            facts.configuration,
            self ? "" : `${clockAhead} ms`,
            `${facts.connections}`,
            `${facts.requests}`,
            holds(name),
          ];
    return [`${name}${self ? "*" : ""}`, address, state, reached, ...said];
  });
  return [HEADING, ...lines];
}

/** Rows are observers. */
function nodeMatrix({ nodes: all }: Matrix): string[][] {
  const lines = heard(all).map(({ name }) => [
    name,
    ...all.map((subject) => (subject.name === name ? "-" : word(subject.seen[name]))),
  ]);
  return [["OBSERVER", ...all.map(({ name }) => name)], ...lines];
}

/** Observers are columns here, since addresses are long. */
function serverMatrix({ nodes: all, servers }: Matrix): string[] {
  if (servers.length === 0) return [];
  const observers = heard(all).map(({ name }) => name);
  const lines = servers.map(({ upstream, server, verdict, seen, report }) => [
    upstream,
    server,
    report === undefined ? verdict : `${verdict}, ${wordOf(report.state)}`,
    ...observers.map((name) => word(seen[name])),
  ]);
  return ["", ...table([["UPSTREAM", "SERVER", "IS", ...observers], ...lines])];
}

function heard(all: readonly NodeRow[]): readonly NodeRow[] {
  return all.filter(({ facts }) => facts !== undefined);
}

/** What is down stands out. */
function word(opinion: Opinion | undefined): string {
  if (opinion === undefined) return ".";
  return opinion.state === "down" ? "DOWN" : opinion.state === "unknown" ? "?" : opinion.state;
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, cell.length);
    });
  }
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]))
      .join("  ")
      .trimEnd(),
  );
}
