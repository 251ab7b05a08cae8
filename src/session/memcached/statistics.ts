import { MAX_WORKERS } from "../../runtime/application.ts";
import type { ZoneWanted } from "../../shm/registry.ts";
import type { Zone } from "../../shm/zone.ts";
import { VERSION } from "../../wire/memcached_server/line.ts";
import type { ItemCommand, Result } from "./item_change.ts";
import type { ItemStore } from "./items.ts";

/** What `stats` tells. Each worker has a row of numbers in shared memory, which it alone writes. */

const COLUMNS = [
  "curr_connections",
  "total_connections",
  "rejected_connections",
  "cmd_get",
  "cmd_set",
  "cmd_flush",
  "cmd_touch",
  "cmd_meta",
  "get_hits",
  "get_misses",
  "delete_misses",
  "delete_hits",
  "incr_misses",
  "incr_hits",
  "decr_misses",
  "decr_hits",
  "cas_misses",
  "cas_hits",
  "cas_badval",
  "touch_hits",
  "touch_misses",
  "store_too_large",
  "bytes_read",
  "bytes_written",
  "total_items",
] as const;

export type Column = (typeof COLUMNS)[number];

/** Numbers of 64 bits; the first of all are the common ones. */
const ROW = 32;
const STARTED = 0;

function columnIndex(column: Column): number {
  return COLUMNS.indexOf(column);
}

const CURRENT = columnIndex("curr_connections");

export function statisticsZone(name: string): ZoneWanted {
  return { kind: { name: "session_listen", version: 1 }, name, size: (MAX_WORKERS + 1) * ROW * 8 };
}

/** The statistics of one listener. */
export class Statistics {
  readonly #numbers: Float64Array;

  constructor(zone: Zone) {
    this.#numbers = zone.floats;
    if (this.#numbers[STARTED] === 0) this.#numbers[STARTED] = Date.now();
  }

  row(slot: number): StatisticsRow {
    const from = (slot + 1) * ROW;
    return new StatisticsRow(this.#numbers.subarray(from, from + ROW));
  }

  sum(column: Column): number {
    const index = columnIndex(column);
    let sum = 0;
    for (let at = ROW + index; at < this.#numbers.length; at += ROW) sum += this.#numbers[at];
    return sum;
  }

  /** That worker has exited, and with it its connections. */
  forget(slot: number): void {
    this.#numbers[(slot + 1) * ROW + CURRENT] = 0;
  }

  /** Sets all to 0 but for the connections that there are. */
  reset(): void {
    for (let at = ROW; at < this.#numbers.length; at++) if (at % ROW !== CURRENT) this.#numbers[at] = 0;
  }

  /** What `stats OF` is answered with, without the last line's end. */
  answer(of: string, items: ItemStore, maxConnections: number): string {
    switch (of) {
      case "":
        return `${this.#lines(items, maxConnections, Date.now())}END`;
      case "reset":
        this.reset();
        return "RESET";
      case "settings": {
        const lines = [`maxbytes ${items.size}`, `maxconns ${maxConnections}`, `item_size_max ${items.mostData}`];
        return `${lines.map((line) => `STAT ${line}\r\n`).join("")}END`;
      }
      case "items":
      case "slabs":
      case "sizes":
      case "conns":
        return "END";
      default:
        return "ERROR";
    }
  }

  /** The lines for these items. */
  #lines(items: ItemStore, maxConnections: number, now: number): string {
    const { user, system } = process.cpuUsage();
    const usage = items.usage();
    const started = this.#numbers[STARTED];
    const lines: (readonly [string, string | number])[] = [
      ["pid", process.pid],
      ["uptime", Math.max(0, Math.floor((now - started) / 1000))],
      ["time", Math.floor(now / 1000)],
      ["version", VERSION],
      ["pointer_size", 64],
      ["rusage_user", (user / 1e6).toFixed(6)],
      ["rusage_system", (system / 1e6).toFixed(6)],
      ["max_connections", maxConnections],
      ...COLUMNS.map((column) => [column, this.sum(column)] as const),
      ["limit_maxbytes", items.size],
      ["accepting_conns", 1],
      ["bytes", usage?.bytes ?? 0],
      ["curr_items", usage?.items ?? 0],
    ];
    return lines.map(([name, value]) => `STAT ${name} ${value}\r\n`).join("");
  }
}

/** What one worker counts. */
export class StatisticsRow {
  readonly #numbers: Float64Array;

  constructor(numbers: Float64Array) {
    this.#numbers = numbers;
  }

  add(column: Column, count: number): void {
    this.#numbers[columnIndex(column)] += count;
  }

  /** A key was asked for. */
  addGet(isHit: boolean): void {
    this.add("cmd_get", 1);
    this.add(isHit ? "get_hits" : "get_misses", 1);
  }

  addChange(command: ItemCommand, result: Result): void {
    const isHit = result === "hit";
    switch (command.kind) {
      case "store":
        this.add("cmd_set", 1);
        if (isHit) this.add("total_items", 1);
        if (command.mode === "cas") this.add(isHit ? "cas_hits" : result === "miss" ? "cas_misses" : "cas_badval", 1);
        return;
      case "refused":
        this.add("store_too_large", 1);
        return;
      case "delete":
      case "md":
        this.add(isHit ? "delete_hits" : "delete_misses", 1);
        return;
      case "touch":
      case "gat":
        this.add("cmd_touch", 1);
        this.add(isHit ? "touch_hits" : "touch_misses", 1);
        return;
      case "arithmetic":
        this.#addArithmetic(command.increment, result);
        return;
      case "ma":
        this.#addArithmetic(command.flags.mode !== "D" && command.flags.mode !== "-", result);
        return;
      case "mg":
      case "look":
        this.addGet(isHit);
        return;
      case "me":
        this.add("cmd_meta", 1);
    }
  }

  #addArithmetic(increment: boolean, result: Result): void {
    if (result === "conflict") return;
    if (increment) this.add(result === "hit" ? "incr_hits" : "incr_misses", 1);
    else this.add(result === "hit" ? "decr_hits" : "decr_misses", 1);
  }
}
