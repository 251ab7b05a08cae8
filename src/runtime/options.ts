import { NGINX_VERSION, VERSION } from "../version.ts";
import type { Program } from "./application.ts";
import { toolLines } from "./control/tool.ts";

/** The command line, as nginx reads it: flags may be combined (`-tc file`), a value may follow at once (`-cfile`). */
export interface Options {
  readonly help: boolean;
  readonly version: boolean;
  readonly configure: boolean;
  readonly test: boolean;
  readonly dump: boolean;
  readonly quiet: boolean;
  /** Byte strings, as given. */
  readonly prefix: string | undefined;
  readonly errorLog: string | undefined;
  readonly confFile: string | undefined;
  readonly globals: string | undefined;
  readonly signal: SignalName | undefined;
}

/** What `-s` sends, by its word. */
export const SIGNALS = { stop: "SIGTERM", quit: "SIGQUIT", reopen: "SIGUSR1", reload: "SIGHUP" } as const;
export type SignalName = keyof typeof SIGNALS;

/** What nginx calls the value of a flag that takes one. */
const WANTED = {
  p: "directory name",
  e: "file name",
  c: "file name",
  g: "parameter",
  s: "parameter",
};

/** What people try first, though nginx has no long options. */
const LONG: Readonly<Record<string, string>> = { "--help": "h", "--version": "v" };

/** Reads the arguments (byte strings). Answers the sentence of what is wrong. */
export function parseOptions(args: readonly string[]): Options | string {
  const flags = new Set<string>();
  const values: Partial<Record<keyof typeof WANTED, string>> = {};
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (!arg.startsWith("-")) return `invalid option: "${arg}"`;
    if (Object.hasOwn(LONG, arg)) {
      flags.add(LONG[arg]);
      continue;
    }
    for (let at = 1; at < arg.length; at++) {
      const flag = arg[at];
      if (isValued(flag)) {
        const value = at + 1 < arg.length ? arg.slice(at + 1) : args[++i];
        if (value === undefined) return `option "-${flag}" requires ${WANTED[flag]}`;
        if (flag === "s" && !Object.hasOwn(SIGNALS, value)) return `invalid option: "-s ${value}"`;
        values[flag] = value;
        break;
      }
      if (!"?hvVtTq".includes(flag)) return `invalid option: "${flag}"`;
      flags.add(flag);
    }
  }
  const help = flags.has("?") || flags.has("h");
  return {
    help,
    version: help || flags.has("v") || flags.has("V"),
    configure: flags.has("V"),
    test: flags.has("t") || flags.has("T"),
    dump: flags.has("T"),
    quiet: flags.has("q"),
    prefix: values.p,
    errorLog: values.e,
    confFile: values.c,
    globals: values.g,
    signal: values.s as SignalName | undefined,
  };
}

function isValued(flag: string): flag is keyof typeof WANTED {
  return Object.hasOwn(WANTED, flag);
}

/** Where everything is, resolved from the options. */
export interface Paths {
  /** Ends with "/". */
  readonly prefix: string;
  /** The directory of the configuration file; ends with "/". */
  readonly confPrefix: string;
  readonly confFile: string;
  /** Absolute, or "" for standard error. */
  readonly errorLog: string;
}

const DEFAULT_CONF = "conf/nginx.conf";
const DEFAULT_ERROR_LOG = "logs/error.log";

/** `home`: the prefix without `-p`, ends with "/". `cwd`: what a relative `-p` is relative to. */
export function resolvePaths(options: Options, home: string, cwd: string): Paths {
  const given = options.prefix ?? home;
  const relative = given === "" || given.endsWith("/") ? given : `${given}/`;
  // nginx leaves a relative prefix as it is, which `working_directory` would change the meaning of.
  const prefix = relative.startsWith("/") ? relative : `${cwd.endsWith("/") ? cwd : `${cwd}/`}${relative}`;
  const conf = options.confFile ?? DEFAULT_CONF;
  const confFile = conf.startsWith("/") ? conf : prefix + conf;
  const log = options.errorLog ?? DEFAULT_ERROR_LOG;
  return {
    prefix,
    confPrefix: confFile.slice(0, confFile.lastIndexOf("/") + 1),
    confFile,
    errorLog: log === "stderr" || log === "" ? "" : log.startsWith("/") ? log : prefix + log,
  };
}

/** What -v, -V and -? print. */
export function versionText(options: Options, home: string, program: Program): string {
  const lines: string[] = [];
  lines.push(`holdfast version: holdfast/${VERSION}`);
  if (options.configure) lines.push(`nginx version: nginx/${NGINX_VERSION}`);
  if (options.help) lines.push(...helpLines(home, program));
  if (options.configure) {
    lines.push(`running on Node.js ${process.version}`, `built with OpenSSL ${process.versions.openssl}`);
    if (program.tls === true) lines.push("TLS SNI support enabled");
    lines.push(["configure arguments:", ...program.configureArguments].join(" "));
  }
  return `${lines.join("\n")}\n`;
}

function helpLines(home: string, { tools = [] }: Program): string[] {
  const commands = toolLines(tools);
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
    ...(commands.length === 0 ? [] : ["Commands for a running Holdfast, with its -c, -p and -g:", ...commands, ""]),
  ];
}
