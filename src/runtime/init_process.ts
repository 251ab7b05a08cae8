import { cpus, setPriority } from "node:os";
import { sentence } from "../config/errors.ts";
import type { Scope } from "../config/schema.ts";
import { setAffinity, setLimit } from "../sys/limits.ts";
import { affinityMask, coreDirectives } from "./directives.ts";
import type { ErrorLog } from "./log/log.ts";
import { becomeUser, identityOf, isTransparent } from "./privileges.ts";

/**
 * What the main block says of a child as a process, in nginx's order (ngx_worker_process_init): what needs root's
 * privileges comes before they are given up. `index`: the worker's, undefined in the checker. Throws a message.
 */
export function initProcess(root: Scope, index: number | undefined, log: ErrorLog): void {
  const core = coreDirectives.in(root);
  const alert = (text: string | undefined): void => {
    if (text !== undefined) log.write("alert", text);
  };
  if (index !== undefined && core.worker_priority !== 0) alert(setNice(core.worker_priority));
  if (core.worker_rlimit_nofile !== undefined) alert(setLimit("RLIMIT_NOFILE", core.worker_rlimit_nofile));
  if (core.worker_rlimit_core !== undefined) alert(setLimit("RLIMIT_CORE", core.worker_rlimit_core));
  const identity = identityOf(core.user);
  if (identity !== undefined) becomeUser(identity, index !== undefined && isTransparent(root));
  if (index !== undefined && core.worker_cpu_affinity !== undefined) {
    const mask = affinityMask(core.worker_cpu_affinity, index, cpus().length);
    if (mask !== 0n && !setAffinity(mask)) alert("sched_setaffinity() failed");
  }
  if (core.working_directory === undefined) return;
  try {
    process.chdir(Buffer.from(core.working_directory, "latin1").toString());
  } catch (error) {
    alert(`chdir("${core.working_directory}") failed: ${sentence(error)}`);
  }
}

function setNice(priority: number): string | undefined {
  try {
    setPriority(0, Math.max(-20, Math.min(19, priority)));
    return undefined;
  } catch (error) {
    return `setpriority(${priority}) failed: ${sentence(error)}`;
  }
}
