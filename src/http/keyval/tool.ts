import { isUtf8 } from "node:buffer";
import { parseMsec } from "../../config/values.ts";
import type { Tool, ToolRequest } from "../../runtime/application.ts";
import type { CommandRequest } from "../../runtime/control/protocol.ts";
import { asJson, column, oneLine } from "../../runtime/control/text.ts";

/** `holdfast keyval ls|get|set|del|clear`: what commands.ts answers, at the terminal. */
export const keyvalTool: Tool = {
  name: "keyval",
  usage: [
    ["ls [--json] zone", "list the pairs of a keyval zone"],
    ["get [--json] zone key", "show the value of a key"],
    ["set [--timeout=time] zone key value", "add a pair, or change its value"],
    ["del zone key", "remove a pair"],
    ["clear zone", "remove all pairs of a zone"],
  ],
  parse,
};

const HEADING = "      LEFT  KEY = VALUE";
const WORDS = new Map([
  ["ls", []],
  ["get", ["key"]],
  ["set", ["key", "value"]],
  ["del", ["key"]],
  ["clear", []],
] as readonly (readonly [string, readonly string[]])[]);
const TIMEOUT = "--timeout=";

function parse(all: readonly string[]): ToolRequest | string {
  const json = all.includes("--json");
  const given = all.find((word) => word.startsWith(TIMEOUT));
  const [what, zone, ...rest] = all.filter((word) => word !== "--json" && word !== given);
  const wanted = WORDS.get(what ?? "");
  if (wanted === undefined) {
    const words = "ls, get, set, del";
    return what === undefined ? `keyval: ${words} or clear?` : `keyval: there is no "${what}", but ${words} and clear`;
  }
  if (zone === undefined) return `keyval ${what}: which zone?`;
  if (zone === "--timeout") return `keyval ${what}: "--timeout" needs its time: --timeout=10m`;
  const lacking = wanted[rest.length];
  if (lacking !== undefined) return `keyval ${what}: which ${lacking}?`;
  if (rest.length > wanted.length) return `keyval ${what}: what is "${rest[wanted.length]}"?`;
  if (given !== undefined && what !== "set") return `keyval ${what}: what is "${given}"?`;
  const timeout = given === undefined ? undefined : parseMsec(given.slice(TIMEOUT.length));
  if (given !== undefined && !timeout) return `keyval set: "${given.slice(TIMEOUT.length)}" is no time`;
  const request = {
    command: `keyval ${what}`,
    zone,
    ...Object.fromEntries(wanted.map((name, i) => [name, rest[i]])),
    ...(timeout === undefined ? {} : { timeout }),
  };
  const show = what === "ls" ? row : what === "get" ? value : done;
  return {
    request,
    show: json ? (line) => asJson({ ...line, key: text(line.key), value: text(line.value) }) : show,
    ...(what === "ls" && !json ? { heading: HEADING } : {}),
  };
}

/** As UTF-8 where it is; other bytes as the characters of their numbers. */
function text(bytes: unknown): unknown {
  if (typeof bytes !== "string") return bytes;
  const buffer = Buffer.from(bytes, "latin1");
  return isUtf8(buffer) ? buffer.toString() : bytes;
}

/** In seconds, where the pair ends. */
function row({ key, value: shown, left }: CommandRequest): string {
  const seconds = left === undefined ? "-" : Math.ceil(Number(left) / 1000);
  return `${column(seconds, 10)}  ${oneLine(key)} = ${oneLine(shown)}`;
}

function value({ value: shown }: CommandRequest): string {
  return String(shown);
}

function done({ set, removed, cleared, pairs }: CommandRequest): string {
  if (set !== undefined) return `set: ${oneLine(set)}`;
  return removed === undefined ? `cleared: ${cleared}, ${pairs} pairs` : `removed: ${oneLine(removed)}`;
}
