import { accessSync, constants, readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { libc } from "../sys/libc.ts";
import { findGroup, findUser, type Identity, startedAsRoot } from "../sys/users.ts";
import type { ErrorLog } from "./log/log.ts";

/** nginx's built-in default of `user`. */
const DEFAULT_USER = "nobody";

/** Whom the process is to become; undefined if it was not started as root. Throws a message. */
export function identityOf(user: Identity | undefined): Identity | undefined {
  if (!startedAsRoot) return undefined;
  if (user !== undefined) return user;
  const uid = findUser(DEFAULT_USER);
  if (uid === undefined) throw new Error(`getpwnam("${DEFAULT_USER}") failed`);
  // Debian names this user's group otherwise; nginx's configure script looks for both.
  const gid = findGroup(DEFAULT_USER) ?? findGroup("nogroup");
  if (gid === undefined) throw new Error(`getgrnam("${DEFAULT_USER}") failed`);
  return { user: DEFAULT_USER, uid, gid };
}

/** Capabilities by number (linux/capability.h). */
const CAP_CHOWN = 0;
const CAP_DAC_OVERRIDE = 1;
const CAP_FOWNER = 3;
const CAP_NET_BIND_SERVICE = 10;
/** For a worker_priority below 0, and a worker_rlimit_* above the hard limit. */
const CAP_SYS_NICE = 23;
const CAP_SYS_RESOURCE = 24;
/** What the master needs of root's privileges after the start: for pid file, logs, sockets and the children's limits. */
const KEPT = [CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_NET_BIND_SERVICE, CAP_SYS_NICE, CAP_SYS_RESOURCE];
const PR_SET_KEEPCAPS = 8;
const CAPABILITY_VERSION_3 = 0x20080522;

/**
 * Becomes that user for good, in every thread. On Linux with FFI the master's thread keeps the capabilities for what
 * nginx's master does as root: files (pid file, logs and certificates are often root's) and ports below 1024. Threads
 * started later inherit them, and call `dropCapabilities`. Throws a message.
 */
export async function becomeUser({ user, uid, gid }: Identity, entry: URL, log: ErrorLog): Promise<void> {
  if (uid === 0) return;
  // Starts the threads of libuv's pool: started later, they would inherit the capabilities.
  await stat("/");
  const kept = libc()?.prctl(PR_SET_KEEPCAPS, 1n) === 0;
  // Absent from the type declarations, as it is from Windows.
  if ("initgroups" in process && typeof process.initgroups === "function") process.initgroups(user, gid);
  else process.setgroups?.([gid]);
  process.setgid?.(gid);
  process.setuid?.(uid);
  if (!kept || !setCapabilities(KEPT)) {
    log.write("notice", `running as "${user}" without the right to ports below 1024: it needs Linux and Node 26's FFI`);
    checkReadable(entry, user);
  }
}

/** In a child, once it serves. */
export function dropCapabilities(): void {
  if (process.platform !== "linux" || process.geteuid?.() === 0) return;
  setCapabilities([]);
}

/** Those of them that the thread has: a container may have been started without some. */
function setCapabilities(capabilities: readonly number[]): boolean {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(CAPABILITY_VERSION_3, 0);
  const set = capabilities.reduce((bits, capability) => bits | (1 << capability), 0) & permitted();
  // Effective, permitted, inheritable for the first 32 capabilities, then for the rest.
  const data = Buffer.alloc(24);
  data.writeInt32LE(set, 0);
  data.writeInt32LE(set, 4);
  return libc()?.capset(header, data) === 0;
}

/** The first 32 of the calling thread's permitted capabilities. */
function permitted(): number {
  const status = readFileSync("/proc/thread-self/status", "latin1");
  return Number.parseInt(/^CapPrm:\s*[0-9a-f]*([0-9a-f]{8})$/m.exec(status)?.[1] ?? "0", 16);
}

/** A child that is started again loads the code again, as that user. */
function checkReadable(entry: URL, user: string): void {
  const path = fileURLToPath(entry);
  try {
    accessSync(path, constants.R_OK);
  } catch {
    throw new Error(`user "${user}" cannot read "${path}"; make it readable for that user, or set "user root;"`);
  }
}
