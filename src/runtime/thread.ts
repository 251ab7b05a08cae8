import { cpus, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { sentence } from "../config/errors.ts";
import { engine } from "../net/engines.ts";
import { logFault, logFaultsTo } from "../sys/guard.ts";
import { setAffinity } from "../sys/limits.ts";
import { startTimer } from "../sys/timers.ts";
import type { Program, WatcherService, WorkerService } from "./cycle.ts";
import { affinityMask, coreDirectives, eventsDirectives } from "./directives.ts";
import { errorLogFiles, type Generation, openMainLog, rebuildGeneration } from "./generation.ts";
import { reportLogFailures } from "./log/append_file.ts";
import type { ErrorLog } from "./log/log.ts";
import { adoptLogFiles, closeLogFilesExcept, flushLogFiles, usesOnlyAdopted } from "./log/log_files.ts";
import type { FromThread, SharedLogs, ThreadRole, ToThread } from "./messages.ts";
import { limitThread } from "./privileges.ts";

/** What one thread runs, by its role: the same for the worker and the watcher but for serving and watching. */
interface Running {
  readonly generation: Generation;
  readonly log: ErrorLog;
  readonly worker?: WorkerService;
  readonly watcher?: WatcherService;
}

/** The life of a worker or the watcher: takes over each generation posted to it until it is told to leave. */
export function runThread(program: Program): void {
  const port = parentPort;
  if (port === null) throw new Error("this thread was not started by the supervisor");
  const role = workerData as ThreadRole;
  const post = (message: FromThread) => port.postMessage(message);

  let running: Running | undefined;
  /** Services of earlier generations that still have requests to finish. */
  const retiring = new Set<WorkerService>();
  let leaving = false;
  // One message after the other: a generation must be in place before the next one, or a quit, is looked at.
  let queue: Promise<void> = Promise.resolve();
  port.on("message", (message: ToThread) => {
    if (message.type === "stop") leave();
    else queue = queue.then(() => handle(message)).catch((error) => logFault(error));
  });

  async function handle(message: ToThread): Promise<void> {
    switch (message.type) {
      case "cycle":
        adoptLogs(message.logs);
        try {
          await take(message);
          limit();
        } catch (error) {
          limit();
          post({ type: "failed", generation: message.data.generation, errors: [sentence(error)] });
        }
        break;
      case "sockets":
        for (const error of (await running?.worker?.listen(message.sockets)) ?? []) running?.log.write("alert", error);
        break;
      case "reopen":
        adoptLogs(message.logs);
        break;
      case "quit":
        quit();
        break;
      default:
        leave();
    }
  }

  /** Until it has taken its first generation over a thread has the rights its supervisor kept: logs may be root's. */
  let limited = false;
  function limit(): void {
    if (!limited) limitThread();
    limited = true;
  }

  async function take({ data, count, sockets }: Extract<ToThread, { type: "cycle" }>): Promise<void> {
    const generation = await rebuildGeneration(program, data);
    const core = coreDirectives.in(generation.root);
    const log = openMainLog(generation);
    logFaultsTo(log);
    reportLogFailures((text) => log.write("alert", text));
    const previous = running;
    if (previous === undefined) await prepareEngine(role, log);
    if (role.kind === "watcher") {
      const watcher = generation.application.watch({ generation: data.generation }, previous?.watcher);
      running = { generation, log, watcher };
    } else {
      if (previous === undefined) placeThread(core, role.index, log);
      const connections = eventsDirectives.in(eventsScope(generation)).worker_connections;
      const worker = generation.application.serve(
        { index: role.index, slot: role.slot, count, connections },
        previous?.worker,
      );
      const errors = await worker.listen(sockets);
      limit();
      running = { generation, log, worker };
      if (previous?.worker !== undefined) retire(previous.worker, core.worker_shutdown_timeout);
      if (errors.length > 0) {
        post({ type: "failed", generation: data.generation, errors });
        return;
      }
    }
    if (retiring.size === 0) closeUnusedLogs();
    post({ type: "ready", generation: data.generation });
  }

  function retire(service: WorkerService, timeout: number | undefined): void {
    retiring.add(service);
    const finished = (): void => {
      timer?.clear();
      if (!retiring.delete(service) || retiring.size > 0) return;
      closeUnusedLogs();
      if (leaving && drained) leave();
    };
    const timer = timeout === undefined ? undefined : startTimer(timeout, () => expire(service, finished));
    service.retire(finished);
  }

  function expire(service: WorkerService, finished: () => void): void {
    service.expire?.();
    finished();
  }

  let drained = false;
  function quit(): void {
    if (leaving) return;
    leaving = true;
    const worker = running?.worker;
    if (worker === undefined) {
      leave();
      return;
    }
    const timeout =
      running === undefined ? undefined : coreDirectives.in(running.generation.root).worker_shutdown_timeout;
    if (timeout !== undefined) startTimer(timeout, leave);
    const closed = (): void => post({ type: "closed" });
    worker.drain(closed, () => {
      drained = true;
      if (retiring.size === 0) leave();
    });
  }

  function leave(): void {
    for (const service of retiring) service.expire?.();
    running?.worker?.stop();
    running?.watcher?.stop();
    flushLogFiles();
    // What was closed a moment ago gets its turn of the loop to reach the peer.
    setImmediate(() => process.exit(0));
  }

  function closeUnusedLogs(): void {
    if (running === undefined) return;
    const { generation } = running;
    closeLogFilesExcept(new Set([...errorLogFiles(generation), ...generation.application.logFiles]));
    sayLogs();
  }

  let logs = 0;
  let saidLogs = 0;
  function adoptLogs({ version, files }: SharedLogs): void {
    adoptLogFiles(files);
    logs = version;
    sayLogs();
  }

  /** The supervisor may close what was replaced. */
  function sayLogs(): void {
    if (saidLogs === logs || !usesOnlyAdopted()) return;
    saidLogs = logs;
    post({ type: "logs", version: logs });
  }
}

function eventsScope({ root }: Generation): Generation["root"] {
  return root.children.find((child) => child.context === "events") ?? root;
}

/** Before the thread's first connection. What is true of one thread is true of all: the first worker says it. */
async function prepareEngine(role: ThreadRole, log: ErrorLog): Promise<void> {
  const lacking = await engine().prepare();
  if (lacking === undefined || role.kind === "watcher" || role.index > 0) return;
  log.write("notice", lacking);
}

/** worker_priority and worker_cpu_affinity: on Linux both are a thread's own. */
function placeThread(core: ReturnType<typeof coreDirectives.in>, index: number, log: ErrorLog): void {
  if (core.worker_priority !== 0) {
    try {
      setPriority(0, Math.max(-20, Math.min(19, core.worker_priority)));
    } catch (error) {
      log.write("alert", `setpriority(${core.worker_priority}) failed: ${error instanceof Error ? error.message : ""}`);
    }
  }
  if (core.worker_cpu_affinity === undefined) return;
  const mask = affinityMask(core.worker_cpu_affinity, index, cpus().length);
  if (mask !== 0n && !setAffinity(mask)) {
    log.write("notice", '"worker_cpu_affinity" has no effect here: threads cannot be pinned with this Node or system');
  }
}
