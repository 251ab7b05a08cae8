import type { Tool, ToolRequest } from "../../runtime/application.ts";
import type { CommandRequest } from "../../runtime/control/protocol.ts";
import { asJson, column, moment, oneLine } from "../../runtime/control/text.ts";

/** `holdfast cache ls|show|purge`: what commands.ts answers, at the terminal. */
export const cacheTool: Tool = {
  name: "cache",
  usage: [
    ["ls [--json] zone [key*]", "list what is in a cache"],
    ["show [--json] zone key", "show what is stored under a key"],
    ["purge zone key|key*", "take a key, or all that begin so, out of a cache"],
    ["purge zone --tag tag ...", "take what has one of these tags out of it"],
  ],
  parse,
};

const HEADING = "STATE       SIZE      AGE     LEFT   USES  KEY";

function parse(words: readonly string[]): ToolRequest | string {
  const json = words.includes("--json");
  const [what, zone, ...rest] = words.filter((word) => word !== "--json");
  const show = (text: (line: CommandRequest) => string) => (json ? (line: CommandRequest) => asJson(line) : text);
  if (what !== "ls" && what !== "show" && what !== "purge") {
    return what === undefined ? "cache: ls, show or purge?" : `cache: there is no "${what}", but ls, show and purge`;
  }
  if (zone === undefined) return `cache ${what}: which zone?`;
  const command = `cache ${what}`;
  if (what === "ls") {
    const [pattern, ...more] = rest;
    if (more.length > 0) return `cache ls: what is "${more[0]}"?`;
    const prefix = pattern === undefined ? {} : { prefix: pattern.replace(/\*$/, "") };
    const request = { command, zone, ...(prefix.prefix === "" ? {} : prefix) };
    return { request, show: show(row), ...(json ? {} : { heading: HEADING }) };
  }
  const [first, ...more] = rest;
  if (first === undefined) return `cache ${what}: which key?`;
  if (what === "purge" && first === "--tag") {
    if (more.length === 0) return "cache purge: which tag?";
    return { request: { command, zone, tags: more.join(" ") }, show: show(purged) };
  }
  if (more.length > 0) return `cache ${what}: what is "${more[0]}"?`;
  return { request: { command, zone, key: first }, show: show(what === "show" ? details : purged) };
}

function purged({ purged: what }: CommandRequest): string {
  return `purged: ${oneLine(what)}`;
}

function row({ state, size, age, left, uses, key }: CommandRequest): string {
  const cells = [String(state).padEnd(6), column(size, 9), column(age, 8), column(left, 8), column(uses, 6)];
  return `${cells.join(" ")}  ${oneLine(key)}`;
}

function details(line: CommandRequest): string {
  const left = Number(line.left);
  const rows: readonly (readonly [string, unknown])[] = [
    ["key", oneLine(line.key)],
    ["file", line.file],
    ["state", `${line.state}, ${left >= 0 ? `for ${left} s` : `since ${-left} s`}, until ${moment(line.valid)}`],
    ["stored", `${moment(line.date)}, ${line.age} s ago`],
    ["size", `${line.size} bytes: head ${line.headBytes}, body ${line.bodyBytes}`],
    ["uses", line.uses],
    ["vary", line.vary],
    ["tags", line.tags],
  ];
  const shown = rows.filter(([, value]) => value !== "").map(([name, value]) => `${name.padEnd(7)} ${value}`);
  return `${shown.join("\n")}\n\n${String(line.head).trimEnd().replaceAll("\r\n", "\n")}`;
}
