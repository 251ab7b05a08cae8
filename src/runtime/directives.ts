import { availableParallelism } from "node:os";
import {
  block,
  enumeration,
  flag,
  msec,
  number,
  offset,
  refuse,
  text,
  texts,
  wrongArguments,
} from "../config/directives.ts";
import { warn } from "../config/errors.ts";
import { type DirectiveSpec, defineDirectives, fail, type Scope } from "../config/schema.ts";
import { hasModule } from "../config/scopes.ts";
import type { Context, Directive } from "../config/types.ts";
import { parseNumber } from "../config/values.ts";
import { parseCidr } from "../net/ip.ts";
import { MOST_CPUS } from "../sys/limits.ts";
import { findGroup, findUser, type Identity, startedAsRoot } from "../sys/users.ts";
import { errorLog } from "./log/directive.ts";

const MAIN: readonly Context[] = ["main"];
const EVENTS: readonly Context[] = ["events"];

/** The main block. */
export const coreDirectives = defineDirectives("core", {
  daemon: flag({ in: MAIN, default: true, doc: "Whether Holdfast leaves the terminal and goes on in the background." }),
  master_process: flag({
    in: MAIN,
    default: true,
    doc: "With `off` one process serves, checks and answers signals, with the privileges it was started with: for debugging.",
  }),
  pid: text({
    in: MAIN,
    default: "logs/holdfast.pid",
    syntax: "file",
    doc: "The file that has the process id while Holdfast serves; written once every listener is bound.",
  }),
  control_socket: text({
    in: MAIN,
    syntax: "file|off",
    defaultText: "beside the pid file, logs/holdfast.sock",
    doc: "The unix socket at which a running master's checker answers commands, as those of `holdfast cache`. Only the master's user may connect. `off`: there is none.",
  }),
  lock_file: text({
    in: MAIN,
    default: "logs/holdfast.lock",
    syntax: "file",
    doc: "Accepted and without effect: processes share what they need in memory, and no lock file is used.",
  }),
  user: {
    in: MAIN,
    args: [1, 2],
    syntax: "user [group]",
    defaultText: "nobody nobody's group",
    doc: "Whom the workers and the checker become when the master was started as root. The master stays root: it binds ports, opens logs and makes directories. Without a group, the one of the user's name.",
    initial: (): Identity | undefined => undefined,
    read: readUser,
  },
  worker_processes: {
    in: MAIN,
    args: [1, 1],
    syntax: "number|auto",
    defaultText: "1",
    doc: "How many worker processes serve; `auto` is the number of cores.",
    initial: () => 1,
    read: (at) =>
      at.args[0] === "auto" ? availableParallelism() : (parseNumber(at.args[0]) ?? refuse(at, "invalid value")),
  },
  worker_priority: {
    in: MAIN,
    args: [1, 1],
    syntax: "number",
    defaultText: "0",
    doc: "The scheduling priority (nice) of the worker processes, from -20 to 20; a negative one needs the right to set it.",
    initial: () => 0,
    read: (at) => (/^[+-]?[0-9]{1,9}$/.test(at.args[0]) ? Number(at.args[0]) : refuse(at, "invalid number")),
  },
  worker_cpu_affinity: {
    in: MAIN,
    args: [1, Number.POSITIVE_INFINITY],
    syntax: "cpumask …|auto [cpumask]",
    doc: "Which cores each worker process may run on, one mask a worker, or one core each with `auto`.",
    initial: (): CpuAffinity | undefined => undefined,
    read: readAffinity,
  },
  worker_rlimit_nofile: number({
    in: MAIN,
    doc: "The greatest number of open files of a worker. Default: the system's hard limit.",
  }),
  worker_rlimit_core: offset({ in: MAIN, doc: "The greatest size of a core file of a worker." }),
  worker_shutdown_timeout: msec({
    in: MAIN,
    doc: "How long a worker that is told to leave, or a configuration that was replaced, may finish what it has; then its connections are closed. Default: as long as it takes.",
  }),
  worker_watchdog_timeout: msec({
    in: MAIN,
    default: 0,
    doc: "How long a worker or the checker may be busy with one event (an endless loop): then it is ended by SIGABRT, logged as [alert], and another takes its place. 0: as long as it takes.",
  }),
  working_directory: text({
    in: MAIN,
    syntax: "directory",
    doc: "The current directory of the workers: where a core file goes.",
  }),
  env: texts({
    in: MAIN,
    syntax: "variable[=value]",
    doc: "Variables of the environment that the workers keep, or are given. TZ is always kept; all others are removed.",
  }),
  error_log: errorLog,
  debug_points: enumeration({
    in: MAIN,
    values: ["stop", "abort"],
    doc: "Accepted and without effect: it stops nginx at failed checks of its own C code.",
  }),
  timer_resolution: msec({
    in: MAIN,
    doc: "Accepted and without effect: it saves nginx clock calls; Holdfast's timers have a resolution of 16 ms always.",
  }),
  thread_pool: {
    in: MAIN,
    args: [2, 3],
    repeat: true,
    syntax: "name threads=number [max_queue=number]",
    defaultText: "default threads=32 max_queue=65536",
    doc: "Accepted and without effect: files are read by the kernel's threads with the io_uring engine, and by Node's own pool (UV_THREADPOOL_SIZE) with the other.",
    initial: (): readonly string[] => [],
    read: readThreadPool,
  },
  pcre_jit: flag({
    in: MAIN,
    default: false,
    doc: "Accepted and without effect: regular expressions are V8's, which compiles them always.",
  }),
  ssl_engine: unavailable("hardware engines of OpenSSL cannot be loaded into Node"),
  ssl_object_cache_inheritable: flag({
    in: MAIN,
    default: true,
    doc: "Whether a reload takes over certificates, keys and other files of OpenSSL that have not changed since, by inode and time of modification, without reading them again.",
  }),
  load_module: {
    in: MAIN,
    args: [1, 1],
    repeat: true,
    syntax: "file",
    doc: "Modules written for nginx cannot be loaded. A line that names one whose directives Holdfast has anyway is accepted with a warning, any other is refused.",
    initial: () => undefined,
    read: readLoadModule,
  },
  google_perftools_profiles: unavailable("gperftools cannot be used with Node; start it with --cpu-prof instead"),
  events: {
    ...block({ in: MAIN, context: "events", doc: "The block of directives about connections." }),
  },
});

export type CoreSettings = ReturnType<typeof coreDirectives.in>;

/** The `events` block. */
export const eventsDirectives = defineDirectives("event_core", {
  worker_connections: number({
    in: EVENTS,
    default: 512,
    doc: "The greatest number of connections a worker has at a time, with clients and backends together.",
  }),
  multi_accept: flag({
    in: EVENTS,
    default: false,
    doc: "Accepted and without effect: a worker always accepts what is waiting, in turns of up to 64 connections with the io_uring engine.",
  }),
  accept_mutex: flag({
    in: EVENTS,
    default: false,
    doc: "Accepted and without effect: every worker has a listening socket of its own (SO_REUSEPORT).",
  }),
  accept_mutex_delay: msec({
    in: EVENTS,
    default: 500,
    doc: "Accepted and without effect, as accept_mutex.",
  }),
  use: {
    in: EVENTS,
    args: [1, 1],
    syntax: "method",
    doc: "How the children wait for their sockets: `io_uring`, by the kernel's interface of that name (Linux 6.1 and later), or `node`, by node:net. Without the directive, or with nginx's own `epoll`, it is io_uring. Where the kernel or its policy forbids that, as many containers do, node:net is used. The error log says at level notice which one it is, and why it is not io_uring.",
    initial: (): string | undefined => undefined,
    read(at) {
      const [method] = at.args;
      if (method === "io_uring" || method === "node") return method;
      if (method !== "epoll") fail(at, `invalid event type "${method}"`);
      return undefined;
    },
  },
  debug_connection: {
    in: EVENTS,
    args: [1, 1],
    repeat: true,
    syntax: "address|CIDR|unix:",
    doc: "Accepted with a warning: debug logging for chosen clients is not available.",
    initial: (): readonly string[] => [],
    read(at, scope, previous: readonly string[] | undefined) {
      const [who] = at.args;
      if (who !== "unix:" && who !== "localhost" && parseCidr(who) === undefined) {
        fail(at, `host not found in debug_connection "${at.args[0]}"`);
      }
      warn(at, scope, `"debug_connection" is ignored, debug logging for chosen clients is not available`);
      return [...(previous ?? []), at.args[0]];
    },
  },
  worker_aio_requests: number({
    in: EVENTS,
    default: 32,
    doc: "Accepted and without effect: up to 64 reads of files wait for disks at a time with the io_uring engine.",
  }),
});

/** The settings of the `events` block of a configuration. */
export function eventsOf(root: Scope): ReturnType<typeof eventsDirectives.in> {
  return eventsDirectives.in(root.children.find((child) => child.context === "events") ?? root);
}

/** A directive that stays an error, with the reason. */
function unavailable(reason: string): DirectiveSpec<undefined> {
  return {
    in: MAIN,
    args: [1, 1],
    repeat: true,
    syntax: "…",
    doc: `Not available: ${reason}.`,
    initial: () => undefined,
    read: (at) => fail(at, `"${at.name}" directive is not available in Holdfast: ${reason}`),
  };
}

function readLoadModule(at: Directive, scope: Scope): void {
  const [, file, name] = /(?:^|\/)((?:ngx_)?(\w+?)(?:_module)?)\.so$/.exec(at.args[0]) ?? [];
  if (name !== undefined && hasModule(scope, name)) {
    warn(at, scope, `"load_module" is ignored, "${file}" is part of Holdfast`);
    return;
  }
  const what = file ?? at.args[0];
  fail(at, `modules written for nginx cannot be loaded, and what "${what}" does is not available in Holdfast`);
}

function readUser(at: Directive, scope: Parameters<typeof warn>[1]): Identity | undefined {
  if (!startedAsRoot) {
    warn(
      at,
      scope,
      'the "user" directive makes sense only if the master process runs with super-user privileges, ignored',
    );
    return undefined;
  }
  const [user, group = user] = at.args;
  const uid = findUser(user) ?? fail(at, `getpwnam("${user}") failed`);
  const gid = findGroup(group) ?? fail(at, `getgrnam("${group}") failed`);
  return { user, uid, gid };
}

/** The cores of each worker: a bit a core. `auto`: one core a worker, out of those of the mask (or of all). */
export interface CpuAffinity {
  readonly auto: boolean;
  readonly masks: readonly bigint[];
}

function readAffinity(at: Directive): CpuAffinity {
  const auto = at.args[0] === "auto";
  if (auto && at.args.length > 2) wrongArguments(at);
  const masks = (auto ? at.args.slice(1) : at.args).map((mask) => {
    if (mask.length > MOST_CPUS) fail(at, `"worker_cpu_affinity" supports up to ${MOST_CPUS} CPUs only`);
    const digits = mask.replaceAll(" ", "");
    const wrong = /[^01]/.exec(digits);
    if (wrong !== null) fail(at, `invalid character "${wrong[0]}" in "worker_cpu_affinity"`);
    return BigInt(`0b0${digits}`);
  });
  return { auto, masks };
}

/** The CPUs of one worker; 0 for any. Without `auto`, the last mask is that of all further workers too. */
export function affinityMask({ auto, masks }: CpuAffinity, index: number, cores: number): bigint {
  if (!auto) return masks[Math.min(index, masks.length - 1)];
  const allowed = masks[0] ?? (1n << BigInt(cores)) - 1n;
  const chosen: number[] = [];
  for (let cpu = 0; cpu < MOST_CPUS; cpu++) if ((allowed >> BigInt(cpu)) & 1n) chosen.push(cpu);
  return chosen.length === 0 ? 0n : 1n << BigInt(chosen[index % chosen.length]);
}

function readThreadPool(at: Directive, _scope: unknown, previous: readonly string[] | undefined): readonly string[] {
  const [name, ...parameters] = at.args;
  if (previous?.includes(name)) fail(at, `duplicate thread pool "${name}"`);
  for (const parameter of parameters) {
    const [, what, value] = /^(threads|max_queue)=([0-9]+)$/.exec(parameter) ?? [];
    if (what === undefined) fail(at, `invalid parameter "${parameter}"`);
    if (what === "threads" && Number(value) === 0) fail(at, `invalid threads value "${parameter}"`);
  }
  if (!parameters.some((parameter) => parameter.startsWith("threads="))) {
    fail(at, `"${at.name}" "${name}" directive requires "threads" parameter`);
  }
  return [...(previous ?? []), name];
}
