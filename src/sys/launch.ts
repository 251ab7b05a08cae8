import { fstatSync } from "node:fs";

/**
 * What a process was started as, by the environment that whoever started it gave it. It is removed from there at once. What
 * comes without the descriptors that belong to it is somebody else's, and means nothing.
 */

/** In a child of the master: its role as text. */
const CHILD = "HOLDFAST_CHILD";
/** Checks the arguments of calls into C (ffi.ts): for debugging. */
const DEBUG_FFI = "HOLDFAST_DEBUG_FFI";
export const debugsFfi: boolean = process.env[DEBUG_FFI] === "1";

/** Variables that are read once, at the start of a process: given to children, and removed there. */
const STARTUP = [
  "MALLOC_MMAP_THRESHOLD_",
  "UV_THREADPOOL_SIZE",
  "NODE_COMPILE_CACHE",
  "NODE_DISABLE_COMPILE_CACHE",
  DEBUG_FFI,
];

/** Descriptors that whoever starts a Holdfast passes. */
const FIRST = 3;
const SECOND = 4;

function is(fd: number, kind: "isSocket" | "isFile"): boolean {
  try {
    return fstatSync(fd)[kind]();
  } catch {
    return false;
  }
}

/** The role that the master gave this process, if it is a child. */
export const childRole: string | undefined =
  is(FIRST, "isSocket") && is(SECOND, "isSocket") ? process.env[CHILD] : undefined;

/** What was executed to start this program: the launcher, which fits the Node to it. */
export const launcher: string | undefined = process.env.HOLDFAST_PROGRAM;

/** In a new binary that a master has started in its place (SIGUSR2). */
const INHERITED = "HOLDFAST_INHERITED";
export const isHeir = process.env[INHERITED] !== undefined && is(FIRST, "isFile");
delete process.env[INHERITED];

/** In the process in the background that a command has started, which waits for it (`daemon on`). */
const DAEMON = "HOLDFAST_DAEMON";
export const isAwaited = process.env[DAEMON] !== undefined && is(FIRST, "isSocket");
delete process.env[DAEMON];

const startup: Record<string, string> = {};
for (const name of STARTUP) {
  const value = process.env[name];
  if (value !== undefined) startup[name] = value;
}
delete process.env[CHILD];
if (childRole !== undefined) for (const name of STARTUP) delete process.env[name];

/** The environment of a child with that role, which sees the variables in `env`. */
export function childEnvironment(role: string, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...startup, ...env, [CHILD]: role };
}

/** The environment of a process in the background. */
export function daemonEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, [DAEMON]: "1" };
}

/** The environment of a new binary. */
export function heirEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, [INHERITED]: "1" };
}
