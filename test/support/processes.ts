/** The processes of a running Holdfast, as /proc shows them. */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";

/** A file of /proc; "" where there is no such process (any more). */
function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

/** What ps shows as the command; "" where there is no such process (any more). */
export function titleOf(pid: number): string {
  return read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim();
}

/** A field of /proc/PID/status. */
export function statusOf(pid: number, field: string): string {
  return new RegExp(`^${field}:\\s+(.*)$`, "m").exec(read(`/proc/${pid}/status`))?.[1] ?? "";
}

/** A field of /proc/PID/smaps_rollup, in KiB: Pss, Anonymous … */
export function memoryOf(pid: number, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? Number.NaN);
}

/**
 * From now on: how much memory a process takes more than it has now, at most, in KiB. Its start, which takes much and gives it back
 * later, does not count, nor do pages of files: those of Node's code come and go.
 */
export function watchPeak(pid: number): () => number {
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
  const memory = (field: string) => Number.parseInt(statusOf(pid, field), 10);
  const [before, files] = [memory("VmRSS"), memory("RssFile")];
  return () => memory("VmHWM") - before - Math.max(0, memory("RssFile") - files);
}

/** How long a process has been running on a processor, its threads and system calls with it, in ms. 10 ms is the least that is counted. */
export function cpuTimeOf(pid: number): number {
  // Behind the name, which may have spaces and brackets in it, utime and stime are the 12th and 13th field.
  const fields = read(`/proc/${pid}/stat`)
    .replace(/^.*\) /, "")
    .split(" ");
  return 10 * (Number(fields[11]) + Number(fields[12]));
}

/** Whether that process runs: neither gone nor dead and waited for. */
export function isRunning(pid: number): boolean {
  return !["", "Z", "X"].includes(statusOf(pid, "State").slice(0, 1));
}

/** The children that a master has now. */
export function childrenOf(master: number): number[] {
  return read(`/proc/${master}/task/${master}/children`).split(" ").filter(Boolean).map(Number);
}

/** The workers that a master has now, those that shut down as well. */
export function workersOf(master: number): number[] {
  return childrenOf(master).filter((pid) => titleOf(pid).startsWith("holdfast: worker process"));
}

/** The checkers that a master has now: one, or none while another is started. */
export function checkersOf(master: number): number[] {
  return childrenOf(master).filter((pid) => titleOf(pid).startsWith("holdfast: checker process"));
}

/** What a process has open, in the order of the descriptors: paths, or names like "socket:[7]". */
export function openBy(pid: number): string[] {
  const names: string[] = [];
  let fds: string[] = [];
  try {
    fds = readdirSync(`/proc/${pid}/fd`);
  } catch {
    // It has ended.
  }
  for (const fd of fds) {
    try {
      names.push(readlinkSync(`/proc/${pid}/fd/${fd}`));
    } catch {
      // Closed meanwhile.
    }
  }
  return names;
}

/** A process's mapping: of a file or other object by its name ("[heap]" …), or of memory without a name. */
export interface Mapping {
  readonly name: string;
  readonly bytes: number;
}

/** The mappings of a process. */
export function mappingsOf(pid: number): Mapping[] {
  return [...read(`/proc/${pid}/maps`).matchAll(/^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+ *(.*)$/gm)].map(
    ([, from, to, name]) => ({ name, bytes: Number.parseInt(to, 16) - Number.parseInt(from, 16) }),
  );
}
