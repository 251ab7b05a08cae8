/** What a process was started as, by the environment that whoever started it gave it. It is removed from there at once. */

/** In a child of the master: its role as text. */
const CHILD = "HOLDFAST_CHILD";
/** Variables that only Node and the C library read, as they start: given to children, and removed there. */
const STARTUP = ["MALLOC_MMAP_THRESHOLD_", "UV_THREADPOOL_SIZE", "NODE_COMPILE_CACHE", "NODE_DISABLE_COMPILE_CACHE"];

/** The role that the master gave this process, if it is a child. */
export const childRole: string | undefined = process.env[CHILD];

/** What was executed to start this program: the launcher, which fits the Node to it. */
export const launcher: string | undefined = process.env.HOLDFAST_PROGRAM;

/** In a new binary that a master has started in its place (SIGUSR2). */
const INHERITED = "HOLDFAST_INHERITED";
export const isHeir = process.env[INHERITED] !== undefined;
delete process.env[INHERITED];

const startup: Record<string, string> = {};
for (const name of STARTUP) {
  const value = process.env[name];
  if (value !== undefined) startup[name] = value;
}
if (childRole !== undefined) for (const name of [CHILD, ...STARTUP]) delete process.env[name];

/** The environment of a child with that role, which sees the variables in `env`. */
export function childEnvironment(role: string, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...startup, ...env, [CHILD]: role };
}

/** The environment of a new binary. */
export function heirEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, [INHERITED]: "1" };
}
