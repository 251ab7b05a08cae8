import { constants } from "node:os";
import { refusalsOf, sentence, sentences } from "../config/errors.ts";
import { ConfigError } from "../config/types.ts";
import { errnoCode, errorText } from "../sys/errno.ts";
import { exit } from "../sys/exit.ts";
import { childRole } from "../sys/launch.ts";
import { fullName } from "../sys/paths.ts";
import { sourceStack } from "../sys/source_stack.ts";
import { writeWhole } from "../sys/write.ts";
import type { Program } from "./application.ts";
import { Checker } from "./checker.ts";
import { runChild } from "./child.ts";
import { refuseTool, runTool, toolArguments } from "./control/tool.ts";
import { inBackground, startInBackground } from "./daemon.ts";
import { coreDirectives } from "./directives.ts";
import { openMainLog } from "./log/directive.ts";
import { openInitialLog, withTerminal } from "./log/error_log.ts";
import type { ErrorLog } from "./log/log.ts";
import { flushLogFiles } from "./log/log_files.ts";
import { closeLogs } from "./log/open_log.ts";
import { controlPath } from "./master/control_socket.ts";
import { prepareFiles } from "./master/files.ts";
import { ListeningSockets } from "./master/listening_sockets.ts";
import { type Loaded, loadConfiguration, logFileLimit, logWarnings, validateCycle } from "./master/load_cycle.ts";
import { runMaster } from "./master/master.ts";
import { pidPath, readPidFile, touchPidFile } from "./master/pid_file.ts";
import {
  type Options,
  type Paths,
  parseOptions,
  resolvePaths,
  SIGNALS,
  type SignalName,
  versionText,
} from "./options.ts";
import { identityOf } from "./privileges.ts";
import { Worker } from "./worker.ts";

/**
 * The program's one entry: does what the command line says, or runs a worker or the checker where the master says so.
 * `entry` is the module that called, which children start from; `home` the default prefix, ending with "/".
 */
export function run(program: Program, entry: URL, home: string): void {
  if (childRole !== undefined) {
    runChild(program, JSON.parse(childRole), ({ kind, index, slot }, allRetired) =>
      kind === "worker" ? new Worker(index, slot, allRetired) : new Checker(),
    );
    return;
  }
  void command(program, entry, home).then((status) => {
    flushLogFiles();
    exit(status);
  });
}

async function command(program: Program, entry: URL, home: string): Promise<number> {
  const args = process.argv.slice(2).map(toBytes);
  const tool = program.tools?.find(({ name }) => name === args[0]);
  const { options: given, words } = tool === undefined ? { options: args, words: [] } : toolArguments(args.slice(1));
  const options = parseOptions(given);
  if (typeof options === "string") {
    say(`holdfast: ${options}\n`);
    return 1;
  }
  if (options.version) {
    say(versionText(options, home, program));
    if (!options.test) return 0;
  }
  const paths = resolvePaths(options, toBytes(home), toBytes(workingDirectory()));
  const asked = tool?.parse(words);
  if (typeof asked === "string") return refuseTool(asked);
  const log = initialLog(paths, options.test);
  let loaded: Loaded;
  try {
    loaded = loadConfiguration(program, paths, options.globals);
    // After an error the rest is still checked, so that all errors are reported.
    if (refusalsOf(loaded.root).count > 0) await validateCycle(program, paths, loaded, undefined);
  } catch (error) {
    return failed(error, log, options, paths);
  }
  if (asked !== undefined) {
    const control = controlPath({ root: loaded.root, path: (path) => fullName(path, paths.prefix) });
    if (control === undefined) return refuseTool('"control_socket" is off');
    const status = await runTool(asked, control.path);
    return status !== 0 || asked.signal === undefined ? status : signal(asked.signal, paths, loaded, log);
  }
  if (options.test) return test(program, options, paths, loaded, log);
  if (options.signal !== undefined) return signal(options.signal, paths, loaded, log);
  if (coreDirectives.in(loaded.root).daemon && !inBackground) return startInBackground();
  if (inBackground) process.umask(0);
  return runMaster({ program, entry, paths, globals: options.globals, loaded, initialLog: log });
}

/** "/" if the current directory was removed; only relative paths on the command line need it. */
function workingDirectory(): string {
  try {
    return process.cwd();
  } catch {
    return "/";
  }
}

/** The log until the configuration's own is open: the terminal, and the file of -e (or the default one) if it opens. */
function initialLog(paths: Paths, test: boolean): ErrorLog {
  if (paths.errorLog === "") return openInitialLog("");
  try {
    return withTerminal(openInitialLog(paths.errorLog, test ? "info" : "notice"));
  } catch (error) {
    say(`holdfast: [alert] could not open error log file: ${sentence(error)}\n`);
    return openInitialLog("");
  }
}

function failed(error: unknown, log: ErrorLog, options: Options, paths: Paths): number {
  if (!(error instanceof ConfigError) && error instanceof Error && log.wants("debug"))
    log.write("debug", sourceStack(error.stack ?? ""));
  for (const line of sentences(error)) log.write("emerg", line);
  if (options.test) say(`holdfast: configuration file ${paths.confFile} test failed\n`);
  return 1;
}

/** -t and -T: everything but serving. */
async function test(program: Program, options: Options, paths: Paths, loaded: Loaded, log: ErrorLog): Promise<number> {
  try {
    const built = await validateCycle(program, paths, loaded, undefined);
    logWarnings(built, log);
    if (!options.quiet) say(`holdfast: the configuration file ${paths.confFile} syntax is ok\n`);
    built.application.test?.();
    const logs = prepareFiles(built, identityOf(coreDirectives.in(built.cycle.root).user));
    closeLogs(logs.values());
    touchPidFile(pidPath(built.cycle));
    const sockets = new ListeningSockets();
    const bound = await sockets.bind(built.application.listeners, 1, log, true);
    sockets.close();
    if (!bound) throw undefined;
    logFileLimit(built, withTerminal(openMainLog(built.cycle)));
  } catch (error) {
    if (error !== undefined) for (const line of sentences(error)) log.write("emerg", line);
    say(`holdfast: configuration file ${paths.confFile} test failed\n`);
    return 1;
  }
  if (!options.quiet) say(`holdfast: configuration file ${paths.confFile} test is successful\n`);
  if (options.dump) {
    for (const { path, text } of loaded.tree.files)
      writeWhole(1, Buffer.from(`# configuration file ${path}:\n${text}\n`, "latin1"));
  }
  return 0;
}

/** -s */
function signal(name: SignalName, paths: Paths, loaded: Loaded, log: ErrorLog): number {
  log.write("notice", "signal process started");
  let pid: number;
  try {
    pid = readPidFile(fullName(coreDirectives.in(loaded.root).pid, paths.prefix));
  } catch (error) {
    log.write("error", sentence(error));
    return 1;
  }
  const signal = SIGNALS[name];
  try {
    process.kill(pid, signal);
  } catch (error) {
    log.write("alert", `kill(${pid}, ${constants.signals[signal]}) failed (${errorText(errnoCode(error) ?? "")})`);
    return 1;
  }
  return 0;
}

/** An argument as the bytes it was given in. */
function toBytes(text: string): string {
  return Buffer.from(text).toString("latin1");
}

function say(text: string): void {
  writeWhole(2, Buffer.from(text, "latin1"));
}
