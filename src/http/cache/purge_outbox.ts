import fs from "node:fs";
import type { ZoneWanted } from "../../shm/registry.ts";
import type { Zone } from "../../shm/zone.ts";
import { errorCode, errorText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import { PURGES } from "./purge_file.ts";

/** A purge that other nodes are to be told of. */
export interface SharedPurge {
  readonly kind: "key" | "prefix" | "tags";
  /** A byte string. */
  readonly text: string;
}

/** Its name in the cache's directory. */
const FILE = `${PURGES}.out`;
/** Bytes of it: for more, others are told to purge everything. */
const MOST = 4 * 1024 * 1024;
const EVERYTHING: SharedPurge = { kind: "prefix", text: "" };

/** Changes with each purge. */
const VERSION = 0;

/** The zone whose lock keeps those apart who write the file, of that kind and name. */
export function outboxZone(index: Pick<ZoneWanted, "kind" | "name">): ZoneWanted {
  return { kind: { name: `${index.kind.name} outbox`, version: 1 }, name: index.name, size: 4096 };
}

/**
 * Purges that other nodes have not been told of: a file beside the entries, a line of JSON each, since they wait there for as long
 * as the store is away, whatever happens to this node meanwhile.
 */
export class PurgeOutbox {
  readonly #zone: Zone;
  readonly #path: string;
  readonly #report: (sentence: string) => void;

  constructor(zone: Zone, directory: string, report: (sentence: string) => void) {
    this.#zone = zone;
    this.#path = `${directory}/${FILE}`;
    this.#report = report;
  }

  get version(): number {
    return Atomics.load(this.#zone.words, VERSION);
  }

  add(purge: SharedPurge): void {
    this.#locked(() => {
      const path = osPath(this.#path);
      const line = `${JSON.stringify(purge)}\n`;
      const before = fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0;
      if (before + line.length > MOST) fs.writeFileSync(path, `${JSON.stringify(EVERYTHING)}\n`, { mode: 0o600 });
      else fs.appendFileSync(path, line, { mode: 0o600 });
    });
    Atomics.add(this.#zone.words, VERSION, 1);
  }

  /** The lines that wait. */
  lines(): readonly string[] {
    let text = "";
    this.#locked(() => {
      const path = osPath(this.#path);
      if ((fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0) <= 2 * MOST && fs.existsSync(path))
        text = fs.readFileSync(path, "utf8");
    });
    return text.split("\n").filter((line) => line !== "");
  }

  /** The others know of the first of them. */
  done(lines: readonly string[]): void {
    this.#locked(() => {
      const path = osPath(this.#path);
      const text = fs.readFileSync(path, "utf8");
      const told = lines.map((line) => `${line}\n`).join("");
      // Else it is another file by now, and they are told twice.
      if (!text.startsWith(told)) return;
      if (text.length === told.length) fs.rmSync(path, { force: true });
      else {
        fs.writeFileSync(`${path}.new`, text.slice(told.length), { mode: 0o600 });
        fs.renameSync(`${path}.new`, path);
      }
    });
  }

  #locked(work: () => void): void {
    this.#zone.lock();
    try {
      work();
    } catch (error) {
      const why = errorText(errorCode(error));
      this.#report(`"${this.#path}" cannot be written (${why}), other nodes may not be told of purges`);
    } finally {
      this.#zone.unlock();
    }
  }
}

/** undefined: it is no purge. */
export function readSharedPurge(text: string): SharedPurge | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { kind, text: what }: Partial<Record<keyof SharedPurge, unknown>> = value;
  if ((kind !== "key" && kind !== "prefix" && kind !== "tags") || typeof what !== "string") return undefined;
  return { kind, text: what };
}
