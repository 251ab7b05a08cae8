import { isMainThread } from "node:worker_threads";
import { refusalsOf, sentence, sentences } from "../config/errors.ts";
import { ConfigError } from "../config/types.ts";
import { sourceStack } from "../sys/source_stack.ts";
import { writeWhole } from "../sys/write.ts";
import { NGINX_VERSION, VERSION } from "../version.ts";
import { ListeningSockets } from "./binding.ts";
import type { Program } from "./cycle.ts";
import { inBackground, startInBackground } from "./daemon.ts";
import { coreDirectives } from "./directives.ts";
import { buildGeneration, type Loaded, loadGeneration } from "./generation.ts";
import { openInitialLog, withTerminal } from "./log/error_log.ts";
import type { ErrorLog } from "./log/log.ts";
import { flushLogFiles } from "./log/log_files.ts";
import {
  DEFAULT_CONF,
  DEFAULT_ERROR_LOG,
  type Options,
  type Paths,
  parseOptions,
  resolvePaths,
  SIGNALS,
  type SignalName,
} from "./options.ts";
import { readPidFile, touchPidFile } from "./pidfile.ts";
import { prepareFiles } from "./prepare.ts";
import { identityOf } from "./privileges.ts";
import { pidPath, supervise, warnAll } from "./supervisor.ts";
import { runThread } from "./thread.ts";

/**
 * The program's one entry: the command line in the main thread, a worker or the watcher in the others.
 * `entry` is the module that called, which the threads start from; `home` the default prefix, ending with "/".
 */
export function run(program: Program, entry: URL, home: string): void {
  if (!isMainThread) {
    runThread(program);
    return;
  }
  void command(program, entry, home).then((status) => {
    flushLogFiles();
    process.exit(status);
  });
}

async function command(program: Program, entry: URL, home: string): Promise<number> {
  const options = parseOptions(process.argv.slice(2).map(toBytes));
  if (typeof options === "string") {
    say(`holdfast: ${options}\n`);
    return 1;
  }
  if (options.version) {
    say(versionText(program, options, home));
    if (!options.test) return 0;
  }
  const paths = resolvePaths(options, toBytes(home), toBytes(workingDirectory()));
  const log = initialLog(paths, options.test);
  let loaded: Loaded;
  try {
    loaded = loadGeneration(program, paths, options.globals);
    // Where something is refused already, all else that is wrong is looked for, and thrown with it.
    if (refusalsOf(loaded.root).count > 0) await buildGeneration(program, paths, loaded, undefined);
  } catch (error) {
    return failed(error, log, options, paths);
  }
  if (options.test) return test(program, options, paths, loaded, log);
  if (options.signal !== undefined) return signal(options.signal, paths, loaded, log);
  if (coreDirectives.in(loaded.root).daemon && !inBackground) return startInBackground();
  if (inBackground) process.umask(0);
  return supervise({ program, entry, paths, globals: options.globals, loaded, initialLog: log });
}

/** "/" where the directory it was started in is gone: only relative paths on the command line would miss it. */
function workingDirectory(): string {
  try {
    return process.cwd();
  } catch {
    return "/";
  }
}

/** While it starts, what goes wrong is said on the terminal, and in the log of -e (or the default one) where there is one. */
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

/** -t and -T: everything short of serving. */
async function test(program: Program, options: Options, paths: Paths, loaded: Loaded, log: ErrorLog): Promise<number> {
  try {
    const generation = await buildGeneration(program, paths, loaded, undefined);
    warnAll(generation, log);
    if (!options.quiet) say(`holdfast: the configuration file ${paths.confFile} syntax is ok\n`);
    prepareFiles(generation, identityOf(coreDirectives.in(generation.root).user));
    touchPidFile(pidPath(generation));
    const sockets = new ListeningSockets();
    const bound = await sockets.bind(generation.application.listeners, 1, log, true);
    sockets.close();
    if (!bound) throw undefined;
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
  const path = coreDirectives.in(loaded.root).pid;
  const file = path.startsWith("/") ? path : paths.prefix + path;
  let pid: number;
  try {
    pid = readPidFile(file);
  } catch (error) {
    log.write("error", sentence(error));
    return 1;
  }
  try {
    process.kill(pid, SIGNALS[name]);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    const text =
      code === "ESRCH" ? "3: No such process" : code === "EPERM" ? "1: Operation not permitted" : String(code);
    log.write("alert", `kill(${pid}, ${SIGNAL_NUMBERS[name]}) failed (${text})`);
    return 1;
  }
  return 0;
}

const SIGNAL_NUMBERS: Readonly<Record<SignalName, number>> = {
  stop: 15,
  quit: 3,
  reopen: process.platform === "linux" ? 10 : 30,
  reload: 1,
};

function versionText(program: Program, options: Options, home: string): string {
  const lines: string[] = [];
  lines.push(`holdfast version: holdfast/${VERSION}`);
  if (options.configure) lines.push(`nginx version: nginx/${NGINX_VERSION}`);
  if (options.help) lines.push(...helpLines(home));
  if (options.configure) {
    lines.push(`running on Node.js ${process.version}`, `built with OpenSSL ${process.versions.openssl}`);
    if (program.tls === true) lines.push("TLS SNI support enabled");
    lines.push(["configure arguments:", ...program.configureArguments].join(" "));
  }
  return `${lines.join("\n")}\n`;
}

function helpLines(home: string): string[] {
  return [
    "Usage: holdfast [-?hvVtTq] [-s signal] [-p prefix]",
    "                [-e filename] [-c filename] [-g directives]",
    "",
    "Options:",
    "  -?,-h,--help  : this help",
    "  -v,--version  : show version and exit",
    "  -V            : show version and configure options then exit",
    "  -t            : test configuration and exit",
    "  -T            : test configuration, dump it and exit",
    "  -q            : suppress non-error messages during configuration testing",
    "  -s signal     : send signal to a running Holdfast: stop, quit, reopen, reload",
    `  -p prefix     : set prefix path (default: ${home})`,
    `  -e filename   : set error log file (default: ${DEFAULT_ERROR_LOG})`,
    `  -c filename   : set configuration file (default: ${DEFAULT_CONF})`,
    "  -g directives : set global directives out of configuration file",
    "",
  ];
}

/** An argument as the bytes it was given in. */
function toBytes(text: string): string {
  return Buffer.from(text).toString("latin1");
}

function say(text: string): void {
  writeWhole(2, Buffer.from(text, "latin1"));
}
