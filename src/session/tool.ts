import type { Tool, ToolRequest } from "../runtime/application.ts";
import type { CommandRequest } from "../runtime/control/protocol.ts";
import { asJson, column, moment } from "../runtime/control/text.ts";

/** `holdfast session ls|show|drop`: what commands.ts answers, at the terminal. */
export const sessionTool: Tool = {
  name: "session",
  usage: [
    ["ls [--json] zone", "list the sessions of a zone, without what is in them"],
    ["show [--json] zone id", "show what is in a session"],
    ["drop zone id", "end a session"],
  ],
  parse,
};

const HEADING = "STATE        SIZE      AGE     LEFT  ID";

function parse(words: readonly string[]): ToolRequest | string {
  const json = words.includes("--json");
  const [what, zone, ...rest] = words.filter((word) => word !== "--json");
  if (what !== "ls" && what !== "show" && what !== "drop") {
    return what === undefined ? "session: ls, show or drop?" : `session: there is no "${what}", but ls, show and drop`;
  }
  if (zone === undefined) return `session ${what}: which zone?`;
  const command = `session ${what}`;
  if (what === "ls") {
    if (rest.length > 0) return `session ls: what is "${rest[0]}"?`;
    return {
      request: { command, zone },
      show: json ? (line) => asJson(line) : row,
      ...(json ? {} : { heading: HEADING }),
    };
  }
  const [id, ...more] = rest;
  if (id === undefined) return `session ${what}: which id?`;
  if (more.length > 0) return `session ${what}: what is "${more[0]}"?`;
  const text = what === "show" ? details : dropped;
  return { request: { command, zone, id }, show: json ? (line) => asJson(withData(line)) : text };
}

function row({ state, size, age, left, id }: CommandRequest): string {
  return `${String(state).padEnd(7)} ${column(size, 9)} ${column(age, 8)} ${column(left, 8)}  ${id}`;
}

function dropped({ dropped: id }: CommandRequest): string {
  return `dropped: ${id}`;
}

function details(line: CommandRequest): string {
  const state = line.state === "waits" ? "waits for the store of its group" : line.state;
  const rows: readonly (readonly [string, unknown])[] = [
    ["id", line.id],
    ["state", state],
    ["version", line.version],
    ["created", `${moment(line.created)}, ${line.age} s ago`],
    ["ends", `${moment(line.expires)}, in ${line.left} s`],
    ["size", `${line.size} bytes`],
  ];
  const shown = rows.map(([name, value]) => `${name.padEnd(7)} ${value}`).join("\n");
  return `${shown}\n\n${asJson(dataOf(line), 2)}`;
}

/** The data as they are, in place of their text. */
function withData(line: CommandRequest): CommandRequest {
  return typeof line.data === "string" ? { ...line, data: dataOf(line) } : line;
}

function dataOf({ data }: CommandRequest): object {
  const value: unknown = JSON.parse(Buffer.from(String(data), "latin1").toString("utf8"));
  return typeof value === "object" && value !== null ? value : {};
}
