import { readFileSync } from "node:fs";
import { reachesOut, type Scope } from "../config/schema.ts";
import type { Directive } from "../config/types.ts";
import { errnoText } from "../sys/errno.ts";
import { libc } from "../sys/libc.ts";
import { findGroup, findUser, type Identity, startedAsRoot } from "../sys/users.ts";

/** nginx's built-in default of `user`. */
const DEFAULT_USER = "nobody";

/** Whom the children are to become; undefined if the master was not started as root. Throws a message. */
export function identityOf(user: Identity | undefined): Identity | undefined {
  if (!startedAsRoot) return undefined;
  if (user !== undefined) return user;
  const uid = findUser(DEFAULT_USER);
  if (uid === undefined) throw new Error(`getpwnam("${DEFAULT_USER}") failed`);
  // Debian names this user's group otherwise; nginx's configure script looks for both.
  const gid = findGroup(DEFAULT_USER, "nogroup");
  if (gid === undefined) throw new Error(`getgrnam("${DEFAULT_USER}") failed`);
  return { user: DEFAULT_USER, uid, gid };
}

const TRANSPARENT = Symbol("transparent");

/** Notes that something in this configuration sends from addresses that are not this machine's: workers keep CAP_NET_RAW. */
export function keepForTransparent(scope: Scope, at: Directive): void {
  reachesOut(scope, at);
  scope.notes.set(TRANSPARENT, true);
}

/** Whether anything in this configuration does. */
export function isTransparent(scope: Scope): boolean {
  return scope.notes.has(TRANSPARENT);
}

/** <linux/capability.h> */
const CAP_NET_RAW = 13;
const CAPABILITY_VERSION_3 = 0x20080522;

/** <linux/prctl.h> */
const PR_SET_DUMPABLE = 4;
const PR_SET_KEEPCAPS = 8;
const PR_SET_NO_NEW_PRIVS = 38;

/**
 * Becomes that user for good, with its groups and without any capability: in every thread of a child. With `transparent`
 * the main thread keeps CAP_NET_RAW. Throws a message.
 */
export function becomeUser({ user, uid, gid }: Identity, transparent: boolean): void {
  const keeps = transparent && uid !== 0;
  if (keeps && libc().prctl(PR_SET_KEEPCAPS, 1n) !== 0) {
    throw new Error(`prctl(PR_SET_KEEPCAPS, 1) failed ${errnoText(libc().errnoName())}`);
  }
  failing(`setgid(${gid})`, () => process.setgid?.(gid));
  // Absent from the type declarations, as it is from Windows.
  if ("initgroups" in process && typeof process.initgroups === "function") {
    const { initgroups } = process;
    failing(`initgroups(${user}, ${gid})`, () => initgroups(user, gid));
  }
  failing(`setuid(${uid})`, () => process.setuid?.(uid));
  if (keeps) keepOnly(CAP_NET_RAW);
  // A process that has changed its user leaves no core file otherwise.
  libc().prctl(PR_SET_DUMPABLE, 1n);
}

/** Of the calling thread's capabilities. */
function keepOnly(capability: number): void {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(CAPABILITY_VERSION_3, 0);
  // Effective, permitted, inheritable for the first 32 capabilities, then for the rest.
  const data = Buffer.alloc(24);
  data.writeUInt32LE(1 << capability, 0);
  data.writeUInt32LE(1 << capability, 4);
  if (libc().capset(header, data) !== 0) throw new Error(`capset() failed ${errnoText(libc().errnoName())}`);
}

function failing(call: string, run: () => void): void {
  try {
    run();
  } catch (error) {
    throw new Error(`${call} failed: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/**
 * In the master, before it starts a child: a child has it in all of its threads then. Root has every privilege already. A
 * master that has capabilities without being root keeps the way it got them for a new binary (SIGUSR2), mostly from its file;
 * its children refuse for themselves.
 */
export function refuseNewPrivilegesForChildren(): void {
  if (startedAsRoot || !hasCapabilities()) refuseNewPrivileges();
}

function hasCapabilities(): boolean {
  try {
    return !/^CapPrm:\s+0+$/m.test(readFileSync("/proc/self/status", "latin1"));
  } catch {
    return true;
  }
}

/**
 * No program that this thread, or one that it starts, executes gets more privileges than it has, whatever the program's
 * file says (setuid, capabilities).
 */
export function refuseNewPrivileges(): void {
  if (libc().prctl(PR_SET_NO_NEW_PRIVS, 1n) !== 0) {
    throw new Error(`prctl(PR_SET_NO_NEW_PRIVS) failed ${errnoText(libc().errnoName())}`);
  }
}
