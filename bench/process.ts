/** Starting programs pinned to a core, reading what the kernel charged them, and leaving none behind. Linux only. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readdirSync, readFileSync } from "node:fs";

export interface Command {
  program: string;
  args: string[];
  env?: Record<string, string>;
}

export interface Usage {
  /** Of the whole process tree, all threads and reaped children, in ms. */
  userMs: number;
  systemMs: number;
  /** Sum of PSS over the tree, in KiB: a page that several processes share counts for each of them in part. */
  memoryKiB: number;
}

export interface ProcessStat {
  parent: number;
  /** Clock ticks: utime + cutime and stime + cstime, see proc(5). */
  userTicks: number;
  systemTicks: number;
}

/** What one core did so far, in ms: all that kept it busy, and the part the hypervisor took away. */
export interface CoreUse {
  busyMs: number;
  stealMs: number;
}

const running = new Set<ChildProcess>();

function clockTicks(): number {
  return Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "latin1" })) || 100;
}

let msPerTick = 0;
function ticksToMs(ticks: number): number {
  msPerTick ||= 1000 / clockTicks();
  return ticks * msPerTick;
}

/** Reads a line of /proc/PID/stat. The program's name may hold blanks and brackets: fields are counted after the last. */
export function parseStat(line: string): ProcessStat {
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  return {
    parent: Number(fields[1]),
    userTicks: Number(fields[11]) + Number(fields[13]),
    systemTicks: Number(fields[12]) + Number(fields[14]),
  };
}

function readStat(pid: string): ProcessStat | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return undefined;
  }
}

function memoryKiB(pid: number): number {
  try {
    return Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "latin1"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** The process and all its descendants that are alive now. */
export function processTree(root: number): Map<number, ProcessStat> {
  const all = new Map<number, ProcessStat>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readStat(name);
    if (stat !== undefined) all.set(Number(name), stat);
  }
  const tree = new Map<number, ProcessStat>();
  const belongs = (pid: number): boolean => {
    for (let at = pid; at > 1; at = all.get(at)?.parent ?? 0) if (at === root) return true;
    return false;
  };
  for (const [pid, stat] of all) if (belongs(pid)) tree.set(pid, stat);
  return tree;
}

/** CPU time of the programs that this one started and that have ended since, in ms. */
export function endedChildrenMs(): number {
  const line = readFileSync("/proc/self/stat", "latin1");
  const [user, system] = line
    .slice(line.lastIndexOf(")") + 2)
    .split(" ")
    .slice(13, 15);
  return ticksToMs(Number(user) + Number(system));
}

export function usageOf(root: number): Usage {
  let user = 0;
  let system = 0;
  let memory = 0;
  for (const [pid, stat] of processTree(root)) {
    user += stat.userTicks;
    system += stat.systemTicks;
    memory += memoryKiB(pid);
  }
  return { userMs: ticksToMs(user), systemMs: ticksToMs(system), memoryKiB: memory };
}

/** The time of a core by /proc/stat; the difference of two readings tells whether others used it too. */
export function coreUse(core: number): CoreUse {
  const line = new RegExp(`^cpu${core} (.*)$`, "m").exec(readFileSync("/proc/stat", "latin1"))?.[1] ?? "";
  const [user, nice, system, , , irq, softirq, steal] = line.split(" ").map(Number);
  return { busyMs: ticksToMs(user + nice + system + irq + softirq + steal), stealMs: ticksToMs(steal) };
}

/**
 * Starts a program on the given cores ("0", "1-3") with its output in a file, in a process group of its own, so that
 * a Ctrl-C on the terminal reaches this program first and it alone decides the order in which the others end.
 */
export function startPinned(cores: string, command: Command, outputFile: string): ChildProcess {
  const output = openSync(outputFile, "a");
  const child = spawn("taskset", ["-c", cores, command.program, ...command.args], {
    env: { ...process.env, ...command.env },
    stdio: ["ignore", output, output],
    detached: true,
  });
  closeSync(output);
  return remember(child);
}

/** Starts a program on the given cores and hands back what it wrote to standard output once it has ended with 0. */
export async function runPinned(cores: string, command: Command, timeoutMs: number): Promise<string> {
  const child = remember(
    spawn("taskset", ["-c", cores, command.program, ...command.args], {
      env: { ...process.env, ...command.env },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    }),
  );
  let output = "";
  let errors = "";
  child.stdout.setEncoding("latin1").on("data", (text: string) => {
    output += text;
  });
  child.stderr.setEncoding("latin1").on("data", (text: string) => {
    errors += text;
  });
  const timer = setTimeout(() => killGroup(child), timeoutMs);
  const [code] = await once(child, "close");
  clearTimeout(timer);
  if (code === 0) return output;
  const ended = code === null ? `took longer than ${timeoutMs} ms` : `ended with ${code}`;
  throw new Error(`${command.program} ${ended}: ${(errors || output).trim().slice(-500)}`);
}

function remember<T extends ChildProcess>(child: T): T {
  running.add(child);
  child.once("exit", () => running.delete(child));
  child.once("error", () => running.delete(child));
  return child;
}

export function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
}

/** SIGKILL to the program, its group, and descendants that made groups of their own. */
function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  const descendants = hasEnded(child) ? [] : processTree(child.pid).keys();
  for (const target of [-child.pid, ...descendants]) {
    try {
      process.kill(target, "SIGKILL");
    } catch {
      // Gone already.
    }
  }
}

/** Ends a program that `startPinned` started: politely first, then with SIGKILL to what is left of its group. */
export async function stop(child: ChildProcess): Promise<void> {
  if (!hasEnded(child)) {
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    const timer = setTimeout(() => killGroup(child), 3000);
    await exited;
    clearTimeout(timer);
  }
  killGroup(child);
}

/** For the way out, whatever the reason: synchronous, so it can run in an "exit" handler. */
export function killAll(): void {
  for (const child of running) killGroup(child);
}
