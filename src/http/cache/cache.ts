import type { Scope } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import { type DeclaredZone, declareZone } from "../../shm/registry.ts";
import type { ZoneKind } from "../../shm/zone.ts";
import { now } from "../../sys/clock.ts";
import { defer } from "../../sys/guard.ts";
import { startTimer } from "../../sys/timers.ts";
import type { LogLine } from "../core/log_context.ts";
import { BodyChecks } from "./body_check.ts";
import { CacheCounters, countersZone } from "./cache_counters.ts";
import { CacheIndex, indexKind } from "./cache_index.ts";
import type { CachePath } from "./cache_path.ts";
import { fileName } from "./digest.ts";
import { remedyOf } from "./disk_trouble.ts";
import { removeFile } from "./entry_file.ts";
import { BLOCK, DISK_TROUBLE, ownerToken, ZONE_TROUBLE } from "./entry_table.ts";
import { MemoryTier } from "./memory_tier.ts";
import { PURGES_FILE } from "./purge_file.ts";
import { outboxZone, PurgeOutbox } from "./purge_outbox.ts";
import { Purges, purgesZone } from "./purges.ts";

/** Somebody who waits until a response is in the cache. */
export interface Waiter {
  readonly digest: string;
  /** When it waits no longer, ms of the monotonic clock. */
  readonly patience: number;
  goOn(): void;
  onFault(error: unknown): void;
}

/** Bytes of the least zone that has room for some entries; nginx takes half of that. */
const LEAST_INDEX = 16_384;

/** By how much of max_size the files may exceed it until workers remove some. */
const TOLERANCE = 1 / 32;

/** How often it is looked whether another worker has ended an update that requests here wait for, in ms. */
const LOOK_MS = 20;

/** Numbers updates, those of all cycles: begun at random, since a worker's slot was another one's before. */
let tokens = Math.floor(Math.random() * 2 ** 22);

/** A cache: its directory, and what processes know of it. */
export class Cache {
  readonly name: string;
  readonly settings: CachePath;
  readonly #declared: DeclaredZone;
  #directory = "";
  #index: CacheIndex | undefined;
  #purges: Purges | undefined;
  #counters: CacheCounters | undefined;
  #outbox: PurgeOutbox | undefined;
  #shared = false;
  #slot = 0;
  /** By the digest that they wait for. */
  readonly #waiting = new Map<string, Set<Waiter>>();
  #looking = false;
  #memory: MemoryTier | undefined;
  readonly checks: BodyChecks;

  constructor(declared: DeclaredZone, settings: CachePath) {
    this.name = declared.name;
    this.#declared = declared;
    this.settings = settings;
    this.checks = new BodyChecks(this);
  }

  /** Called when the configuration has been read. `report` is told what is wrong with the cache's own files. */
  open(cycle: Cycle, report: (sentence: string) => void): void {
    const { kind, name, size } = this.#declared;
    const { path, levels, inactive } = this.settings;
    opened.set(cycle, [...cachesOf(cycle), this]);
    this.#directory = cycle.path(path.replace(/(.)\/$/, "$1"));
    const key = {
      text: `${this.#directory}\n${levels.join(":")}`,
      refusal: (before: string) => refusal(name, this.#directory, before.split("\n")[0]),
    };
    this.#index = new CacheIndex(cycle.zone({ kind, name, size: Math.max(size, LEAST_INDEX), key }), inactive);
    this.#counters = new CacheCounters(cycle.zone(countersZone(this.#declared)));
    this.#purges = new Purges(cycle.zone(purgesZone(this.#declared)), `${this.#directory}/${PURGES_FILE}`, report);
    if (this.settings.sync !== undefined)
      this.#outbox = new PurgeOutbox(cycle.zone(outboxZone(this.#declared)), this.#directory, report);
    if (this.settings.memory > 0) this.#memory = new MemoryTier(this.settings.memory, this.#index);
  }

  get directory(): string {
    return this.#directory;
  }

  /** Where files are until they are whole. */
  get temporary(): string {
    return `${this.#directory}/.temp`;
  }

  get index(): CacheIndex {
    if (this.#index === undefined) throw new Error(`cache "${this.name}" was used before it was opened`);
    return this.#index;
  }

  get purges(): Purges {
    if (this.#purges === undefined) throw new Error(`cache "${this.name}" was used before it was opened`);
    return this.#purges;
  }

  /** Purges are made on other nodes too. */
  share(): void {
    this.#shared = true;
  }

  /** Where purges wait that other nodes are to be told of; undefined where they are none of their business. */
  get outbox(): PurgeOutbox | undefined {
    return this.#shared ? this.#outbox : undefined;
  }

  get counters(): CacheCounters {
    if (this.#counters === undefined) throw new Error(`cache "${this.name}" was used before it was opened`);
    return this.#counters;
  }

  /** What this worker has in memory; undefined where it is to have nothing there. */
  get memory(): MemoryTier | undefined {
    return this.#memory;
  }

  /** A worker with that slot begins to serve. */
  enter(slot: number): void {
    this.#slot = slot;
    this.purges.load();
    this.counters.enter(slot);
  }

  /** The worker with that slot has exited. */
  forget(slot: number): void {
    this.index.forget(slot);
    this.counters.forget(slot);
  }

  get slot(): number {
    return this.#slot;
  }

  /** A token for one update. */
  token(): number {
    return ownerToken(this.#slot, ++tokens);
  }

  fileOf(digest: string): string {
    return fileName(this.#directory, this.settings.levels, digest);
  }

  /** Removes the entry longest out of use, with its file. False: there is none that could be removed. */
  makeRoom(): boolean {
    const victim = this.index.oldest();
    if (victim === undefined) return false;
    if (victim.generation !== 0) removeFile(this.fileOf(victim.digest));
    this.index.evict(victim, true);
    return true;
  }

  /** A file has been added: where the manager cannot keep up, those who add files remove some. */
  keepBounds(): void {
    const most = this.settings.maxSize / BLOCK;
    for (let i = 0; i < 2 && this.index.table.blocks > most + most * TOLERANCE; i++) this.makeRoom();
  }

  /** Logs why files cannot be read or written: once a minute, however many requests it happens to. */
  diskTrouble(log: LogLine, sentence: string): void {
    if (!this.index.table.saysTrouble(DISK_TROUBLE)) return;
    log("crit", `${sentence}; until that is repaired, responses pass cache "${this.name}" by${remedyOf(sentence)}`);
  }

  zoneTrouble(log: LogLine): void {
    if (this.index.table.saysTrouble(ZONE_TROUBLE))
      log("alert", `could not allocate node in cache keys zone "${this.name}"`);
  }

  /** Calls `goOn` once nobody updates the entry any more, or the waiter's patience is over. */
  wait(waiter: Waiter): void {
    const { digest } = waiter;
    const others = this.#waiting.get(digest);
    if (others === undefined) this.#waiting.set(digest, new Set([waiter]));
    else others.add(waiter);
    if (!this.#looking) this.#look();
  }

  leave(waiter: Waiter): void {
    const { digest } = waiter;
    const waiting = this.#waiting.get(digest);
    if (waiting?.delete(waiter) === true && waiting.size === 0) this.#waiting.delete(digest);
  }

  /** An update has ended here. */
  updated(digest: string): void {
    const waiting = this.#waiting.get(digest);
    if (waiting === undefined) return;
    this.#waiting.delete(digest);
    for (const waiter of waiting) defer(goOn, waiter);
  }

  #look(): void {
    this.#looking = true;
    startTimer(LOOK_MS, () => {
      const time = now();
      for (const [digest, waiting] of this.#waiting) {
        if (!this.index.isClaimed(digest)) {
          this.updated(digest);
          continue;
        }
        for (const waiter of waiting) {
          if (waiter.patience > time) continue;
          this.leave(waiter);
          defer(goOn, waiter);
        }
      }
      this.#looking = false;
      if (this.#waiting.size > 0) this.#look();
    });
  }
}

function refusal(name: string, path: string, before: string): string {
  if (path === before) return `cache "${name}" had previously different levels`;
  return `cache "${name}" uses the "${path}" cache path while previously it used the "${before}" cache path`;
}

function goOn(waiter: Waiter): void {
  waiter.goOn();
}

const opened = new WeakMap<Cycle, Cache[]>();

/** The caches of a configuration, whichever modules define them. */
export function cachesOf(cycle: Cycle): readonly Cache[] {
  return opened.get(cycle) ?? [];
}

/** The caches that one module's `…_cache_path` directives define. */
export class Caches {
  readonly #kind: ZoneKind;
  readonly #bound = new WeakMap<DeclaredZone, Cache>();
  /** Noted where a configuration uses one of them. */
  readonly #used = Symbol("caches");

  constructor(prefix: string) {
    this.#kind = indexKind(prefix);
  }

  define(at: Directive, scope: Scope, name: string, size: number, settings: CachePath): Cache | undefined {
    const declared = declareZone(at, scope, this.#kind, name, size);
    if (this.#bound.has(declared)) return undefined;
    const made = new Cache(declared, settings);
    this.#bound.set(declared, made);
    return made;
  }

  /** The zone that `…_cache` names, which may be declared later in the configuration. */
  named(at: Directive, scope: Scope, name: string): DeclaredZone {
    this.use(scope);
    return declareZone(at, scope, this.#kind, name, 0);
  }

  /** Notes that requests choose among them. */
  use({ notes }: Scope): void {
    notes.set(this.#used, true);
  }

  areUsed({ notes }: Scope): boolean {
    return notes.has(this.#used);
  }

  /** Called when the configuration has been read. */
  find(declared: DeclaredZone): Cache | undefined {
    return this.#bound.get(declared);
  }
}
