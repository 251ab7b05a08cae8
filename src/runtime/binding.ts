import { closeSync, lstatSync, unlinkSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { isWildcard } from "../net/address.ts";
import { engine } from "../net/engines.ts";
import { type Bound, bindSocket, canBind, refuseNew } from "../net/listening_socket.ts";
import { changeBacklog, setSocketOptions } from "../net/socket_options.ts";
import { IGNORE } from "../net/stream.ts";
import { errnoCode, errnoText } from "../sys/errno.ts";
import { osPath } from "../sys/paths.ts";
import { startTimer } from "../sys/timers.ts";
import type { ListenSpec, Sockets } from "./cycle.ts";
import type { ErrorLog } from "./log/log.ts";

const TRIES = 5;
const PAUSE_MS = 500;

/** A port is shared by one socket for each worker where the system shares connections out among them. */
const ONE_EACH = process.platform === "linux";

interface Held {
  spec: ListenSpec;
  /** One for each worker there has been at a time; of a unix socket, which cannot be bound several times, one for all. */
  readonly fds: number[];
}

/**
 * The listening sockets, which the supervisor holds as long as a configuration listens on their address: what waits in
 * their queues is not lost when a worker leaves or dies. Workers accept from duplicates. Where sockets cannot be bound
 * here (`canBind`) it is empty, and each worker binds for itself.
 */
export class ListeningSockets {
  readonly #held = new Map<string, Held>();
  /** Those of addresses that are listened on no more, while workers take what waits in their queues. */
  readonly #leaving: Held[] = [];
  /** Who binds: sockets made after the process has become another user must be the same one's to share a port. */
  readonly #owner = process.geteuid?.();

  /**
   * Binds what is not bound yet; addresses in use are tried again for a while, as nginx does. With `test` they are no
   * error. Failures are logged as [emerg]; after one, all is as before, and the answer false.
   */
  async bind(specs: readonly ListenSpec[], workers: number, log: ErrorLog, test = false): Promise<boolean> {
    if (!canBind()) return true;
    const before = new Set(this.#held.keys());
    if ((await this.#bindMissing(specs, log, test)) && this.#widen(specs, workers, log)) return true;
    this.#drop((key) => !before.has(key));
    return false;
  }

  async #bindMissing(specs: readonly ListenSpec[], log: ErrorLog, test: boolean): Promise<boolean> {
    let left = specs.filter(({ key }) => !this.#held.has(key));
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

  /** Answers the code of a failure. */
  async #add(spec: ListenSpec, log: ErrorLog, test: boolean): Promise<string | undefined> {
    const { address } = spec;
    let bound = this.#bindOne(spec, this.#overlaps(spec));
    if ("code" in bound && bound.code === "EADDRINUSE" && address.family === "unix" && !test) {
      if (await removeStale(address.path)) bound = this.#bindOne(spec, false);
    }
    if ("code" in bound) {
      if (bound.code !== "EADDRINUSE" || !test) log.write("emerg", failure(spec, bound));
      return bound.code;
    }
    for (const note of configure(bound.fd, spec)) log.write("alert", note);
    this.#held.set(spec.key, { spec, fds: [bound.fd] });
    return undefined;
  }

  #bindOne({ address, ipv6only }: ListenSpec, join: boolean): Bound {
    const owner = this.#owner === process.geteuid?.() ? undefined : this.#owner;
    return bindSocket({ address, ipv6only, join, owner });
  }

  /** `*:80` and `127.0.0.1:80` of our own: they can stand beside each other, where nginx cannot have both. */
  #overlaps(spec: ListenSpec): boolean {
    return [...this.#held.values(), ...this.#leaving].some((held) => overlap(held.spec, spec));
  }

  #widen(specs: readonly ListenSpec[], workers: number, log: ErrorLog): boolean {
    if (!ONE_EACH) return true;
    for (const spec of specs) {
      const fds = this.#held.get(spec.key)?.fds;
      if (fds === undefined || spec.address.family === "unix") continue;
      while (fds.length < workers) {
        const bound = this.#bindOne(spec, true);
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

  /** Takes over what a reload changed of the sockets that stay. */
  change(specs: readonly ListenSpec[], log: ErrorLog): void {
    for (const spec of specs) {
      const held = this.#held.get(spec.key);
      if (held === undefined || isDeepStrictEqual(held.spec, spec)) continue;
      // One that was deferred stays so until it is told otherwise; of one that never was, the system need not be asked.
      const options = { ...spec, deferred: spec.deferred || (held.spec.deferred ? false : undefined) };
      held.spec = spec;
      const notes = held.fds.flatMap((fd) => {
        changeBacklog(fd, spec.backlog);
        return setSocketOptions(fd, options, spec.key);
      });
      for (const note of new Set(notes)) log.write("alert", note);
    }
  }

  /** For each address the descriptors its workers accept from, by the worker's number. */
  descriptors(workers: number): Sockets {
    const table: Record<string, readonly number[]> = {};
    for (const [key, { spec, fds }] of this.#held) {
      table[key] = spec.address.family === "unix" || !ONE_EACH ? new Array<number>(workers).fill(fds[0]) : fds;
    }
    return table;
  }

  /** Forgets addresses that were bound for a configuration which is not taken after all. */
  keepOnly(specs: readonly ListenSpec[]): void {
    const kept = new Set(specs.map(({ key }) => key));
    this.#drop((key) => !kept.has(key));
  }

  /** Lets no new connection come to any other address: what waits there can be accepted, and then `closeLeft`. */
  leaveOthers(specs: readonly ListenSpec[]): void {
    const kept = new Set(specs.map(({ key }) => key));
    for (const [key, held] of this.#held) {
      if (kept.has(key)) continue;
      this.#held.delete(key);
      this.#leaving.push(held);
      const { address } = held.spec;
      if (address.family === "unix") removeFile(address.path);
      else for (const fd of held.fds) refuseNew(fd);
    }
  }

  /** Closes what was left; what still waits in the queues is lost. */
  closeLeft(): void {
    for (const { fds } of this.#leaving.splice(0)) for (const fd of fds) closeSync(fd);
  }

  close(): void {
    this.closeLeft();
    this.#drop(() => true);
  }

  #drop(which: (key: string) => boolean): void {
    for (const [key, { spec, fds }] of this.#held) {
      if (!which(key)) continue;
      this.#held.delete(key);
      if (spec.address.family === "unix") removeFile(spec.address.path);
      for (const fd of fds) closeSync(fd);
    }
  }
}

/**
 * What one of these workers accepts from: the socket of its number, and its share of those whose worker is not there.
 */
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

/** A socket file nobody listens on any more was left by a crash. Anything else in the way is in use. */
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
    // Somebody has removed it, or its directory is not ours to change: whoever binds it next will hear.
  }
}
