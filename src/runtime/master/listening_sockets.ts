import { closeSync, lstatSync, unlinkSync } from "node:fs";
import { isWildcard } from "../../net/address.ts";
import { engine } from "../../net/engines.ts";
import { admitNew, holdNew } from "../../net/held_door.ts";
import { type Bound, bindSocket, claimPort, refuseNew } from "../../net/listening_socket.ts";
import { changeBacklog, setSocketOptions } from "../../net/socket_options.ts";
import { IGNORE } from "../../net/stream.ts";
import { util } from "../../sys/builtin.ts";
import { errnoCode, errnoText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import { startTimer } from "../../sys/timers.ts";
import type { Doors, ListenSpec, Sockets } from "../application.ts";
import type { ErrorLog } from "../log/log.ts";

const TRIES = 5;
const PAUSE_MS = 500;

interface Listening {
  spec: ListenSpec;
  /** One for each worker (for the most there have been at a time). A unix socket, which cannot share its path, is one for all. */
  readonly fds: number[];
  /** Keeps others from the port as long as no worker listens. */
  claim: number | undefined;
}

/** What has been bound for an address. */
type Taken = Bound & { readonly claim?: number };

/**
 * The listening sockets. The master holds them as long as a configuration listens on their address, and workers accept
 * from duplicates: connections in the queue of a worker that exits or dies are not lost. Linux distributes
 * connections among the SO_REUSEPORT sockets of a port: each worker has one.
 */
export class ListeningSockets implements Doors {
  readonly #bound = new Map<string, Listening>();
  /** From the master before this one; not configured (yet). */
  readonly #inherited: Map<string, readonly number[]>;
  /** No longer configured; workers still accept what is in their queues. */
  readonly #retired: Listening[] = [];

  /** `inherited`: descriptors of listening sockets by ListenSpec.key, which belong to this object now. */
  constructor(inherited: Sockets = {}) {
    this.#inherited = new Map(Object.entries(inherited));
  }

  /**
   * Binds what is not bound yet. Like nginx tries again for a while if an address is in use; with `test` that is no error.
   * Failures are logged as [emerg]; after one nothing has changed, and the result is false.
   */
  async bind(specs: readonly ListenSpec[], workers: number, log: ErrorLog, test = false): Promise<boolean> {
    const before = new Set(this.#bound.keys());
    if ((await this.#bindMissing(specs, log, test)) && this.#bindForWorkers(specs, workers, log)) return true;
    this.#drop((key) => !before.has(key));
    return false;
  }

  async #bindMissing(specs: readonly ListenSpec[], log: ErrorLog, test: boolean): Promise<boolean> {
    let left = specs.filter(({ key }) => !this.#bound.has(key));
    for (let attempt = 1; left.length > 0; attempt++) {
      const busy: ListenSpec[] = [];
      for (const spec of left) {
        const failed = await this.#add(spec, log, test);
        if (failed === undefined) continue;
        if (failed !== "EADDRINUSE") return false;
        if (!test) busy.push(spec);
      }
      left = busy;
      if (left.length === 0) break;
      if (attempt === TRIES) {
        log.write("emerg", "still could not bind()");
        return false;
      }
      log.write("notice", `try again to bind() after ${PAUSE_MS}ms`);
      await new Promise<void>((resolve) => startTimer(PAUSE_MS, resolve));
    }
    return true;
  }

  /** Returns the errno name of a failure. */
  async #add(spec: ListenSpec, log: ErrorLog, test: boolean): Promise<string | undefined> {
    if (this.#inherit(spec, log)) return undefined;
    const { address } = spec;
    const taken: Taken = address.family === "unix" ? await takePath(address.path, spec, test) : this.#takePort(spec);
    if ("code" in taken) {
      if (taken.code !== "EADDRINUSE" || !test) log.write("emerg", failure(spec, taken));
      return taken.code;
    }
    for (const note of configure(taken.fd, spec)) log.write("alert", note);
    // Else it looks as if nobody had it, until a worker listens: see removeStale().
    if (address.family === "unix") changeBacklog(taken.fd, spec.backlog);
    this.#bound.set(spec.key, { spec, fds: [taken.fd], claim: taken.claim });
    return undefined;
  }

  #takePort(spec: ListenSpec): Taken {
    if (this.#overlaps(spec)) return bindOne(spec, true);
    const claim = claimPort(spec);
    if ("code" in claim) return claim;
    const bound = bindOne(spec, true);
    if ("fd" in bound) return { ...bound, claim: claim.fd };
    closeSync(claim.fd);
    return bound;
  }

  #inherit(spec: ListenSpec, log: ErrorLog): boolean {
    const fds = this.#inherited.get(spec.key);
    if (fds === undefined) return false;
    this.#inherited.delete(spec.key);
    this.#bound.set(spec.key, { spec, fds: [...fds], claim: undefined });
    for (const fd of fds) {
      changeBacklog(fd, spec.backlog);
      for (const note of configure(fd, spec)) log.write("alert", note);
    }
    return true;
  }

  /** Workers listen on what is bound. */
  releaseClaims(): void {
    for (const listening of this.#bound.values()) releaseClaim(listening);
  }

  /** Those that this configuration does not listen on. */
  closeInherited(): void {
    for (const fds of this.#inherited.values()) for (const fd of fds) closeSync(fd);
    this.#inherited.clear();
  }

  /** `*:80` beside `127.0.0.1:80`, which nginx refuses: with SO_REUSEPORT both can be bound. */
  #overlaps(spec: ListenSpec): boolean {
    return [...this.#bound.values(), ...this.#retired].some((other) => overlap(other.spec, spec));
  }

  #bindForWorkers(specs: readonly ListenSpec[], workers: number, log: ErrorLog): boolean {
    for (const spec of specs) {
      const fds = this.#bound.get(spec.key)?.fds;
      if (fds === undefined || spec.address.family === "unix") continue;
      while (fds.length < workers) {
        const bound = bindOne(spec, true);
        if ("code" in bound) {
          log.write("emerg", failure(spec, bound));
          return false;
        }
        configure(bound.fd, spec);
        fds.push(bound.fd);
      }
    }
    return true;
  }

  /** Applies changed parameters to sockets that are kept over a reload. */
  change(specs: readonly ListenSpec[], log: ErrorLog): void {
    for (const spec of specs) {
      const listening = this.#bound.get(spec.key);
      if (listening === undefined || util().isDeepStrictEqual(listening.spec, spec)) continue;
      // TCP_DEFER_ACCEPT is cleared only where it was set.
      const options = { ...spec, deferred: spec.deferred || (listening.spec.deferred ? false : undefined) };
      listening.spec = spec;
      const notes = listening.fds.flatMap((fd) => {
        changeBacklog(fd, spec.backlog);
        return setSocketOptions(fd, options, spec.key);
      });
      for (const note of new Set(notes)) log.write("alert", note);
    }
  }

  /** By address the descriptors to accept from, each at its worker's index. */
  descriptors(workers: number): Sockets {
    const table: Record<string, readonly number[]> = {};
    for (const [key, { spec, fds }] of this.#bound) {
      table[key] = spec.address.family === "unix" ? new Array<number>(workers).fill(fds[0]) : fds;
    }
    return table;
  }

  /** Closes what was bound for a configuration that is refused after all. */
  keepOnly(specs: readonly ListenSpec[]): void {
    const kept = new Set(specs.map(({ key }) => key));
    this.#drop((key) => !kept.has(key));
  }

  /**
   * Refuses new connections on all other addresses. What is in their queues can still be accepted; then they are to be
   * closed (`closeRetired`).
   */
  retireOthers(specs: readonly ListenSpec[]): void {
    const kept = new Set(specs.map(({ key }) => key));
    for (const [key, listening] of this.#bound) {
      if (kept.has(key)) continue;
      this.#bound.delete(key);
      this.#retired.push(listening);
      releaseClaim(listening);
      const { address } = listening.spec;
      if (address.family === "unix") removeFile(address.path);
      else for (const fd of listening.fds) refuseNew(fd);
    }
  }

  hold(hosts: readonly string[] | undefined): void {
    holdNew(this.#tcp, hosts);
  }

  open(): void {
    admitNew(this.#tcp);
  }

  get #tcp(): number[] {
    const all = [...this.#bound.values()].filter(({ spec }) => spec.address.family !== "unix");
    return all.flatMap(({ fds }) => fds);
  }

  /** Connections that are still in their queues are reset. */
  closeRetired(): void {
    for (const { fds } of this.#retired.splice(0)) for (const fd of fds) closeSync(fd);
  }

  /** `shared`: another master listens on them too, and needs the files of unix sockets. */
  close({ shared = false } = {}): void {
    this.closeInherited();
    this.closeRetired();
    this.#drop(() => true, shared);
  }

  #drop(which: (key: string) => boolean, shared = false): void {
    for (const [key, listening] of this.#bound) {
      if (!which(key)) continue;
      const { spec, fds } = listening;
      this.#bound.delete(key);
      releaseClaim(listening);
      if (spec.address.family === "unix" && !shared) removeFile(spec.address.path);
      for (const fd of fds) closeSync(fd);
    }
  }
}

/** What one of these workers accepts from: the sockets of its own index, and its share of those of absent workers. */
export function shareOf(sockets: Sockets, worker: number, workers: readonly number[]): Sockets {
  const share: Record<string, readonly number[]> = {};
  for (const [key, fds] of Object.entries(sockets)) {
    const mine = fds.filter((_, number) => {
      return worker === (workers.includes(number) ? number : workers[number % workers.length]);
    });
    share[key] = [...new Set(mine)];
  }
  return share;
}

function bindOne({ address, ipv6only }: ListenSpec, join: boolean): Bound {
  return bindSocket({ address, ipv6only, join });
}

function releaseClaim(listening: Listening): void {
  if (listening.claim !== undefined) closeSync(listening.claim);
  listening.claim = undefined;
}

/** A unix socket. With `test` no file is touched that is there. */
async function takePath(path: string, spec: ListenSpec, test: boolean): Promise<Bound> {
  let bound = bindOne(spec, false);
  if ("code" in bound && bound.code === "EADDRINUSE" && !test && (await removeStale(path))) {
    bound = bindOne(spec, false);
  }
  return bound;
}

function configure(fd: number, spec: ListenSpec): string[] {
  return setSocketOptions(fd, { ...spec, deferred: spec.deferred || undefined }, spec.key);
}

function failure({ key }: ListenSpec, { call, code }: { call: string; code: string }): string {
  return `${call === "bind()" ? "bind() to" : call} ${key} failed ${errnoText(code)}`;
}

function overlap(one: ListenSpec, other: ListenSpec): boolean {
  const { address: a } = one;
  const { address: b } = other;
  if (a.family === "unix" || b.family === "unix" || a.port !== b.port) return false;
  if (a.family === b.family) return a.host === b.host || isWildcard(a) || isWildcard(b);
  const six = a.family === "ipv6" ? one : other;
  return isWildcard(six.address) && six.ipv6only === false;
}

/** Removes a socket file left by a crash: one that nobody listens on. Returns whether the path is free. */
async function removeStale(path: string): Promise<boolean> {
  try {
    if (!lstatSync(osPath(path)).isSocket()) return false;
  } catch (error) {
    return errnoCode(error) === "ENOENT";
  }
  const answer = await new Promise<string | undefined>((resolve) => {
    engine().connect(
      { address: { family: "unix", path } },
      { ...IGNORE, onConnect: (stream) => stream.destroy(), onClose: (_stream, error) => resolve(error?.code) },
    );
  });
  if (answer !== "ECONNREFUSED") return false;
  removeFile(path);
  return true;
}

function removeFile(path: string): void {
  try {
    unlinkSync(osPath(path));
  } catch {
    // Gone already, or the directory is not writable: the next bind() reports it.
  }
}
