/** The command line of `npm run bench`. */
import { parseArgs } from "node:util";

export interface Options {
  /** Names of scenarios; empty means all. */
  only: string[];
  /** Names of servers; empty means all that are installed. */
  servers: string[];
  /** Length of one measurement, s: short, so that servers that are compared meet the same machine. */
  seconds: number;
  /** Load of each server before the first measurement, not counted, s. */
  warmup: number;
  /** It goes on until so many requests were answered, but for 20 s more at most. */
  warmupRequests: number;
  /** Rounds; in each every server is measured once, in turn. */
  runs: number;
  serverCore: number;
  /** taskset's list for the load generator, the backend and the bench itself. */
  loadCores: string;
  /** Another checkout of Holdfast, measured too, as "beside". Empty for none. */
  beside: string;
  /** Folder for latest.json and latest.svg. */
  out: string;
  /** Keep the scenarios of an earlier latest.json that this run does not measure. */
  merge: boolean;
  list: boolean;
  help: boolean;
}

export const usage = `npm run bench -- [options]

  --only NAMES        scenarios, separated by commas (see --list); all by default
  --servers NAMES     servers, separated by commas; all that are installed by default
  --seconds N         length of one measurement (1)
  --warmup N          load of each server before its first measurement (3)
  --warmup-requests N it goes on for so many requests, for 20 s more at most (20000)
  --runs N            rounds; each measures every server once, in turn (15)
  --server-core N     core the measured server gets for itself (0)
  --load-cores LIST   cores for load generator and backend (1)
  --beside DIR        measure the Holdfast of another checkout too, as "beside"
  --out DIR           where latest.json and latest.svg go (bench/results)
  --merge             keep the other scenarios of a latest.json made on the same machine with the same versions
  --list              name scenarios and servers, then leave
`;

/** Throws an Error with a sentence for the user when an option is unknown or out of range. */
export function parseOptions(args: string[], defaultOut: string): Options {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: "string", default: "" },
      servers: { type: "string", default: "" },
      seconds: { type: "string", default: "1" },
      warmup: { type: "string", default: "3" },
      "warmup-requests": { type: "string", default: "20000" },
      runs: { type: "string", default: "15" },
      "server-core": { type: "string", default: "0" },
      "load-cores": { type: "string", default: "1" },
      beside: { type: "string", default: "" },
      out: { type: "string", default: defaultOut },
      merge: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (!/^\d+([-,]\d+)*$/.test(values["load-cores"])) {
    throw new Error(`--load-cores takes a list such as 1 or 1-3, not "${values["load-cores"]}"`);
  }
  return {
    only: names(values.only),
    servers: names(values.servers),
    seconds: whole("--seconds", values.seconds, 1, 600),
    warmup: whole("--warmup", values.warmup, 1, 60),
    warmupRequests: whole("--warmup-requests", values["warmup-requests"], 0, 10_000_000),
    runs: whole("--runs", values.runs, 1, 100),
    serverCore: whole("--server-core", values["server-core"], 0, 1023),
    loadCores: values["load-cores"],
    beside: values.beside,
    out: values.out,
    merge: values.merge,
    list: values.list,
    help: values.help,
  };
}

function names(list: string): string[] {
  return list.split(",").filter((name) => name !== "");
}

function whole(option: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (text === "" || !Number.isInteger(value) || value < least || value > most) {
    throw new Error(`${option} takes a whole number from ${least} to ${most}, not "${text}"`);
  }
  return value;
}

/** The entries named, in the table's order; throws when a name is not in the table. */
export function choose<T extends { name: string }>(what: string, table: readonly T[], wanted: string[]): T[] {
  const unknown = wanted.filter((name) => !table.some((entry) => entry.name === name));
  if (unknown.length > 0) {
    const known = table.map((entry) => entry.name).join(", ");
    throw new Error(`there is no ${what} "${unknown.join('", "')}"; there are: ${known}`);
  }
  return wanted.length === 0 ? [...table] : table.filter((entry) => wanted.includes(entry.name));
}
