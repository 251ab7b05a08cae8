import type { AddressRow, Matrix, NodeRow, Seen, ServerRow } from "../matrix.ts";
import { wordOf } from "../report/report.ts";

/** What a matrix says in words. All texts are byte strings, and stay the same while nothing changes. */

/** So many names are said, the others counted. */
const MOST_NAMES = 4;
/** A node that alone finds more servers down than this gets one sentence for all of them. */
const MOST_SENTENCES = 3;
/** Reasons that say that nothing came through, and not that the answer was of no use. */
const NOTHING_CAME = /^connect|timeout|^closed|reset|unreachable/;

/** What is not as it should be; nothing: all are up for all. */
export function troubles(matrix: Matrix): string[] {
  return [
    ...matrix.nodes.flatMap((node) => nodeTrouble(node) ?? []),
    ...matrix.addresses.flatMap((address) => addressTrouble(address) ?? []),
    ...serverTroubles(matrix.servers),
    ...storeTroubles(matrix),
  ];
}

function storeTroubles({ self, store }: Matrix): string[] {
  if (store === undefined || store.connected) return [];
  const why = store.reason === "" ? "" : ` (${store.reason})`;
  return [`${self} does not reach the store ${store.store} and goes on alone${why}`];
}

function addressTrouble({ address, holders, seen }: AddressRow): string | undefined {
  if (holders.length > 1) return `${names(holders)} have ${address}, which one node is to have`;
  if (holders.length === 1) return undefined;
  const reasons = Object.keys(seen).flatMap((node) =>
    seen[node].reason === "" ? [] : [`${node}: ${seen[node].reason}`],
  );
  return `${address}: no node has it${reasons.length === 0 ? "" : ` (${reasons.join("; ")})`}`;
}

/** undefined while all that are heard reach it. */
export function nodeTrouble({ name, verdict, seen, facts, left }: NodeRow): string | undefined {
  if (facts !== undefined && (facts.state === "draining" || facts.state === "leaving") && verdict === "up") {
    return `${name} is ${facts.state}`;
  }
  const { up, down } = sides(seen);
  if (down.length === 0) return undefined;
  const why = because(seen, down);
  if (up.length === 0) return left === true ? `${name} has left` : `${name}: down, nobody hears it${why}`;
  const cut = down.every((observer) => NOTHING_CAME.test(seen[observer].reason));
  return `${does(down, "not reach")} ${name}, ${others(up)} ${up.length === 1 ? "does" : "do"}${cut ? ": the way between them is cut" : ""}${why}`;
}

export function serverTrouble(row: ServerRow): string | undefined {
  const said = [foundOf(row), saidOf(row)].filter((one) => one !== undefined);
  return said.length === 0 ? undefined : said.join("; ");
}

function saidOf({ upstream, server, report }: ServerRow): string | undefined {
  if (report === undefined) return undefined;
  const { state, reason, until } = report;
  const time = until === 0 ? "" : `, until ${new Date(until).toISOString().slice(11, 19)} UTC`;
  return `${server} of ${upstream} says that it is ${wordOf(state)}${reason === "" ? "" : `: ${reason}`}${time}`;
}

function foundOf({ upstream, server, seen }: ServerRow): string | undefined {
  const what = `${server} of ${upstream}`;
  const { up, down } = sides(seen);
  if (down.length === 0) return undefined;
  const why = because(seen, down);
  if (up.length === 0) return `${what}: down${down.length > 1 ? ` for all ${down.length} nodes` : ""}${why}`;
  if (alone({ seen }) !== undefined) {
    return `only ${down[0]} finds ${what} down, ${others(up)} find it up: this is a problem of ${down[0]}${why}`;
  }
  return `${finds(down)} ${what} down, ${others(up)} ${up.length === 1 ? "finds" : "find"} it up${why}`;
}

/** The one node that finds down what several others find up. */
function alone({ seen }: Pick<Seen, "seen">): string | undefined {
  const { up, down } = sides(seen);
  return down.length === 1 && up.length > 1 ? down[0] : undefined;
}

function serverTroubles(servers: readonly ServerRow[]): string[] {
  const byNode = new Map<string, ServerRow[]>();
  for (const row of servers) {
    const node = alone(row);
    if (node !== undefined) byNode.set(node, [...(byNode.get(node) ?? []), row]);
  }
  const many = [...byNode].filter(([, rows]) => rows.length > MOST_SENTENCES);
  const said = new Set(many.flatMap(([, rows]) => rows));
  return [
    ...many.map(([node, rows]) => {
      const which = names(rows.map(({ upstream, server }) => `${server} of ${upstream}`));
      return `only ${node} finds ${which} down, the others find them up: this is a problem of ${node}`;
    }),
    ...servers.flatMap((row) => (said.has(row) ? (saidOf(row) ?? []) : (serverTrouble(row) ?? []))),
  ];
}

function sides(seen: Seen["seen"]): { readonly up: readonly string[]; readonly down: readonly string[] } {
  const of = (state: string) => Object.keys(seen).filter((observer) => seen[observer].state === state);
  return { up: of("up"), down: of("down") };
}

/** The reason in parentheses, where all have the same one; else each with whose it is. */
function because(seen: Seen["seen"], down: readonly string[]): string {
  const reasons = new Map<string, string[]>();
  for (const observer of down) {
    const { reason } = seen[observer];
    if (reason !== "") reasons.set(reason, [...(reasons.get(reason) ?? []), observer]);
  }
  if (reasons.size === 0) return "";
  if (reasons.size === 1) return ` (${[...reasons.keys()][0]})`;
  return ` (${[...reasons].map(([reason, observers]) => `${names(observers)}: ${reason}`).join("; ")})`;
}

function names(all: readonly string[]): string {
  const shown = all.length > MOST_NAMES + 1 ? all.slice(0, MOST_NAMES) : all;
  const rest = all.length - shown.length;
  const parts = rest > 0 ? [...shown, `${rest} more`] : shown;
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts[parts.length - 1]}`;
}

/** Where they are many, they are the rest. */
function others(who: readonly string[]): string {
  return who.length > MOST_NAMES + 1 ? `${who.length} others` : names(who);
}

function does(who: readonly string[], what: string): string {
  return `${names(who)} ${who.length === 1 ? "does" : "do"} ${what}`;
}

function finds(who: readonly string[]): string {
  return `${names(who)} ${who.length === 1 ? "finds" : "find"}`;
}
