import { closeSync, fstatSync, lstatSync, openSync, readSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import type { Database, RootDatabase } from "lmdb";
import { errnoCode, errorText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import { CommitCounter } from "./commit_counter.ts";
import { CommitLock } from "./commit_lock.ts";

/**
 * The LMDB environment of a zone's directory: one file that all processes map. Opened once a process and never closed, since LMDB
 * forbids to open one twice.
 */
export interface Environment {
  readonly root: RootDatabase<Buffer, Buffer>;
  /** Sessions by id. */
  readonly sessions: Table;
  /** Items of memcached's by their keys. */
  readonly items: Table;
  /** Nothing, by a time, the kind and the key of a record: it does not end before. */
  readonly ends: Table;
  /** Of a group's zone, what the store of the group is still to be told, by session. */
  readonly queue: Table;
  /** What is kept beside sessions, by a name. */
  readonly notes: Table;
  readonly commits: CommitCounter;
  /** Held by who commits: `write`, or beside the event loop. */
  readonly lock: CommitLock;
  /** One transaction, after which a death loses nothing of it. */
  write<T>(work: () => T): T;
}

export type Table = Database<Buffer, Buffer>;

/** By the real paths of their directories. */
const opened = new Map<string, Environment>();
/** All workers there may be, those of another master, and room for tools. */
const MAX_READERS = 1024;
/** The file may grow to so many times what sessions may take: pages are not full, and old ones stay while somebody reads them. */
const SPARE = 4;
const LEAST_MAP = 64 * 1024 * 1024;

/** Opens the environment of a directory. `size`: bytes that sessions may take. Throws the library's error. */
export function openEnvironment(directory: string, size: number, sync: boolean): Environment {
  // Whatever it is called: opened twice, one would take the other's locks away.
  const real = realpathSync(osPath(directory), "latin1");
  const known = opened.get(real);
  if (known !== undefined) return known;
  checkFiles(directory);
  const lmdb: typeof import("lmdb") = createRequire(import.meta.url)("lmdb");
  const lock = new CommitLock(directory);
  try {
    const environment = lock.opening(() => open(lmdb, directory, size, sync, lock));
    opened.set(real, environment);
    return environment;
  } catch (error) {
    lock.close();
    throw error;
  }
}

/** While no other process commits. */
function open(
  lmdb: typeof import("lmdb"),
  directory: string,
  size: number,
  sync: boolean,
  lock: CommitLock,
): Environment {
  const root = lmdb.open<Buffer, Buffer>({
    // The library writes names as UTF-8.
    path: Buffer.from(directory, "latin1").toString("utf8"),
    noSubdir: false,
    encoding: "binary",
    keyEncoding: "binary",
    compression: false,
    maxDbs: 8,
    maxReaders: MAX_READERS,
    mapSize: Math.max(LEAST_MAP, size * SPARE),
    noSync: !sync,
    overlappingSync: sync,
    eventTurnBatching: false,
  });
  const table = (name: string): Table =>
    root.openDB<Buffer, Buffer>({ name, encoding: "binary", keyEncoding: "binary" });
  const environment: Environment = {
    root,
    sessions: table("sessions"),
    items: table("items"),
    ends: table("ends"),
    queue: table("queue"),
    notes: table("notes"),
    commits: new CommitCounter(directory),
    lock,
    write: (work) => lock.committing(() => root.transactionSync(work)),
  };
  root.transactionSync(() => {
    if (environment.commits.last === statsOf(root).transaction) return;
    throw new Error(`the lock file in "${directory}" is not as this version of LMDB is expected to have it`);
  });
  return environment;
}

/** Of the first page, where LMDB's mark is, and the mark with the version of its format. */
const MARK = 24;
const LMDB = Buffer.from("dec0efbe02000000", "hex");

/**
 * Throws where LMDB would not get on with what is there: the library kills the process then. Not to be called once it is open: who
 * closes a file gives up all locks of his process on it.
 */
function checkFiles(directory: string): void {
  const { uid, mode } = lstatSync(osPath(directory));
  if (uid !== process.geteuid?.() || (mode & 0o002) !== 0) {
    throw new Error(`"${directory}" must belong to the workers' user, and be writable for nobody else`);
  }
  for (const name of ["data.mdb", "lock.mdb"]) {
    const path = `${directory}/${name}`;
    let file: number;
    try {
      file = openSync(osPath(path), "r+");
    } catch (error) {
      const code = errnoCode(error) ?? "EIO";
      if (code === "ENOENT") continue;
      throw new Error(`open() "${path}" failed (${errorText(code)})`);
    }
    try {
      const mark = Buffer.alloc(LMDB.length);
      if (name === "lock.mdb" || fstatSync(file).size === 0) continue;
      if (readSync(file, mark, 0, mark.length, MARK) < mark.length || !mark.equals(LMDB)) {
        throw new Error(`"${path}" is no database of LMDB's; move it away to begin with an empty one`);
      }
    } finally {
      closeSync(file);
    }
  }
}

export interface TableStats {
  readonly pages: number;
  readonly entries: number;
  readonly pageSize: number;
  /** Of the whole environment: the number of the last one. */
  readonly transaction: number;
}

/** What the library's untyped statistics say. */
export function statsOf(table: Table): TableStats {
  const stats: object = table.getStats();
  const number = (name: string): number => {
    const value: unknown = Reflect.get(stats, name);
    return typeof value === "number" ? value : 0;
  };
  const pages = number("treeBranchPageCount") + number("treeLeafPageCount") + number("overflowPages");
  return { pages, entries: number("entryCount"), pageSize: number("pageSize"), transaction: number("lastTxnId") };
}
