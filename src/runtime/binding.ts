import { lstatSync, unlinkSync } from "node:fs";
import { connect, createServer, type ListenOptions, type Server } from "node:net";
import { errnoCode, errnoText } from "../config/errno.ts";
import { osPath } from "../config/paths.ts";
import { type Address, addressText, isWildcard } from "../net/address.ts";
import { bindShared } from "../net/socket_options.ts";
import type { ListenSpec } from "./cycle.ts";
import type { ErrorLog } from "./log.ts";
import { startTimer } from "./timers.ts";

const TRIES = 5;
const PAUSE_MS = 500;

/**
 * Sees whether each address can be bound, without sharing: the workers share theirs (SO_REUSEPORT), and so would join
 * whatever else shares the port. Addresses in use are tried again for a while, as nginx does; with `test` they are no
 * error. Failures are logged as [emerg]; answers whether every address is free.
 */
export async function probeListeners(specs: readonly ListenSpec[], log: ErrorLog, test: boolean): Promise<boolean> {
  let left = specs;
  for (let attempt = 1; left.length > 0; attempt++) {
    const busy: ListenSpec[] = [];
    for (const spec of left) {
      const code = await probe(spec.address, spec.ipv6only);
      if (code === undefined) continue;
      if (code !== "EADDRINUSE" || !test) {
        log.write("emerg", `bind() to ${addressText(spec.address)} failed ${errnoText(code)}`);
      }
      if (code !== "EADDRINUSE") return false;
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

/**
 * Which listeners of the next generation a probe can tell anything of: not those that are there already, nor those
 * that overlap one of our own (`*:80` and `127.0.0.1:80`), which the workers can bind beside it where nginx cannot.
 */
export function listenersToProbe(next: readonly ListenSpec[], current: readonly ListenSpec[]): readonly ListenSpec[] {
  return next.filter((spec) => !current.some((own) => own.key === spec.key || overlap(own, spec)));
}

function overlap(one: ListenSpec, other: ListenSpec): boolean {
  const { address: a } = one;
  const { address: b } = other;
  if (a.family === "unix" || b.family === "unix" || a.port !== b.port) return false;
  if (a.family === b.family) return a.host === b.host || isWildcard(a) || isWildcard(b);
  const six = a.family === "ipv6" ? one : other;
  return isWildcard(six.address) && six.ipv6only === false;
}

async function probe(address: Address, ipv6only: boolean | undefined): Promise<string | undefined> {
  if (address.family === "unix") return probeUnix(address.path);
  const { host, port } = address;
  return bind({ host, port, exclusive: true, ...(ipv6only === undefined ? {} : { ipv6Only: ipv6only }) });
}

/** Resolves to the error code of a failed bind. */
function bind(options: ListenOptions): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server: Server = createServer();
    server.once("error", (error) => resolve(errnoCode(error) ?? "EIO"));
    server.listen(options, () => server.close(() => resolve(undefined)));
  });
}

/** A socket file nobody listens on any more was left by a crash: it is removed. Anything else in the way is in use. */
async function probeUnix(path: string): Promise<string | undefined> {
  const name = Buffer.from(path, "latin1").toString();
  try {
    if (!lstatSync(osPath(path)).isSocket()) return "EADDRINUSE";
  } catch (error) {
    return errnoCode(error) === "ENOENT" ? bind({ path: name, exclusive: true }) : errnoCode(error);
  }
  const answer = await new Promise<string | undefined>((resolve) => {
    const socket = connect(name, () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once("error", (error) => resolve(errnoCode(error)));
  });
  if (answer !== "ECONNREFUSED") return "EADDRINUSE";
  try {
    unlinkSync(osPath(path));
  } catch (error) {
    return errnoCode(error) === "ENOENT" ? undefined : errnoCode(error);
  }
  return undefined;
}

/** Binds the unix sockets that the workers will share, with the rights of the supervisor. They find out what failed. */
export function bindUnixSockets(specs: readonly ListenSpec[]): void {
  for (const { address, shared, backlog } of specs) {
    if (address.family === "unix" && shared !== undefined) bindShared(shared, address.path, backlog ?? 511);
  }
}

/** At the end of the process: removes the socket files of its listeners. */
export function removeUnixSockets(specs: readonly ListenSpec[]): void {
  for (const { address } of specs) {
    if (address.family !== "unix") continue;
    try {
      unlinkSync(osPath(address.path));
    } catch {
      // The worker that closed it may have removed it already.
    }
  }
}
