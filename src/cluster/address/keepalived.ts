import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { sentence } from "../../config/errors.ts";
import type { ErrorLog, Level } from "../../runtime/log/log.ts";
import { childProcess } from "../../sys/builtin.ts";
import { errnoCode } from "../../sys/errno.ts";
import { openPipe } from "../../sys/fifo.ts";
import { boundary } from "../../sys/guard.ts";
import { osPath } from "../../sys/paths.ts";
import { ALIVE_SCRIPT, FILE, GUARD_SCRIPT } from "./keepalived_conf.ts";

const PATH = `${process.env.PATH ?? ""}:/usr/sbin:/sbin:/usr/local/sbin`;
/** One that has lived for less is started again after a pause, doubled each time up to the greatest, ms. */
const SHORT_LIFE_MS = 10_000;
const FIRST_PAUSE_MS = 250;
const GREATEST_PAUSE_MS = 30_000;
/** One that has written no pid file so long after its start is none, ms. */
const STARTING_MS = 5000;
const READ_BYTES = 16_384;
/** Of a number in a file: as many of each, so that one takes another's place. */
const DIGITS = 16;
/** What keepalived is told in the words of a shell or of its own configuration. */
const PLAIN = /^[\w./@+:,-]+$/;
/** What it says at each start, and of each advertisement of another that has the address too, which the checker reports once. */
const CHATTER =
  /SECURITY VIOLATION|script_security|^Command line|^ {10}|Running on Linux|^Configuration file|lower priority/;

/** Where keepalived is installed; undefined: nowhere. */
export function findKeepalived(): string | undefined {
  for (const directory of PATH.split(":")) {
    if (directory === "") continue;
    const path = `${directory}/keepalived`;
    if (isProgram(path)) return path;
  }
  return undefined;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/**
 * keepalived as the master runs it, in a directory of its own. It outlives this master if another takes its place: so it is known by
 * its pid file, and what it says comes through named pipes there. `tick` is to be called some ten times a second.
 */
export class Keepalived {
  readonly #directory: string;
  readonly #log: () => ErrorLog;
  readonly #event: (instance: string, state: string) => void;
  readonly #buffer = Buffer.alloc(READ_BYTES);
  #pipes: { readonly life: number; readonly lines: Lines; readonly events: Lines } | undefined;
  #startedAt = Number.NEGATIVE_INFINITY;
  #starting = false;
  #shortLives = 0;
  #nextStart = 0;
  #said = "";
  /** Of the one that runs, or ran last. */
  #pid: number | undefined;

  /** `event` is called with what it says of its instances. */
  constructor(directory: string, log: () => ErrorLog, event: (instance: string, state: string) => void) {
    this.#directory = directory;
    this.#log = log;
    this.#event = event;
  }

  get pid(): number | undefined {
    return this.#pid;
  }

  /** Makes the directory. Throws a sentence. */
  prepare(): void {
    const directory = this.#directory;
    if (!PLAIN.test(directory))
      throw new Error(`keepalived cannot read names as "${directory}": "pid" is to be elsewhere`);
    mkdirSync(osPath(directory), { recursive: true, mode: 0o700 });
    chmodSync(osPath(directory), 0o700);
    this.write(FILE.aliveScript, ALIVE_SCRIPT);
    this.write(FILE.guard, GUARD_SCRIPT);
    if (this.#pipes !== undefined) return;
    const [lines, events] = [FILE.lines, FILE.events].map((name) => new Lines(openPipe(`${directory}/${name}`)));
    this.#pipes = { life: openPipe(`${directory}/${FILE.life}`), lines, events };
  }

  /** Takes the place of a file there, whole at every moment. Returns whether it was another before. */
  write(name: string, text: string): boolean {
    const path = `${this.#directory}/${name}`;
    if (read(path) === text) return false;
    const beside = `${path}.new`;
    writeFileSync(osPath(beside), text, { mode: 0o600 });
    renameSync(osPath(beside), osPath(path));
    return true;
  }

  /** Writes a number into a file that keepalived, or its script, looks at: never is it empty, not for a moment. */
  note(name: string, number: number): void {
    const fd = openSync(osPath(`${this.#directory}/${name}`), constants.O_WRONLY | constants.O_CREAT, 0o600);
    try {
      writeSync(fd, `${String(number).padStart(DIGITS)}\n`);
    } finally {
      closeSync(fd);
    }
  }

  /** It reads its configuration again, if it runs. */
  reload(): void {
    if (this.#pid !== undefined) kill(this.#pid, "SIGHUP");
  }

  /** Whether it runs. Starts it where it does not, unless it has just died. */
  tick(now: number): boolean {
    if (this.#pipes === undefined) return false;
    this.#read();
    const before = this.#pid;
    this.#pid = this.#running();
    if (this.#pid !== undefined) {
      this.#starting = false;
      return true;
    }
    if (this.#starting && now - this.#startedAt < STARTING_MS) return false;
    if (before !== undefined || this.#starting) this.#died(now);
    if (now >= this.#nextStart) this.#start(now);
    return false;
  }

  #died(now: number): void {
    this.#starting = false;
    this.#shortLives = now - this.#startedAt < SHORT_LIFE_MS ? this.#shortLives + 1 : 0;
    const pause = this.#shortLives === 0 ? 0 : FIRST_PAUSE_MS * 2 ** (this.#shortLives - 1);
    this.#nextStart = now + Math.min(pause, GREATEST_PAUSE_MS);
    this.#log().write("alert", "keepalived has exited, starting it again");
  }

  #start(now: number): void {
    const program = findKeepalived();
    this.#nextStart = now + GREATEST_PAUSE_MS;
    if (program === undefined) {
      this.#say("keepalived is not installed: this node has no virtual addresses");
      return;
    }
    const directory = this.#directory;
    const file = (name: string): string => `${directory}/${name}`;
    const options = ["--dont-fork", "--vrrp", "--log-console"];
    const files = ["-f", file(FILE.conf), "-p", file(FILE.pid), "-r", file(FILE.vrrpPid)];
    this.#nextStart = now;
    this.#startedAt = now;
    this.#starting = true;
    for (const name of [FILE.pid, FILE.vrrpPid]) remove(file(name));
    try {
      const guard = childProcess().spawn("/bin/sh", [file(FILE.guard), directory, program, ...options, ...files], {
        stdio: "ignore",
        // A terminal's signals are for the master.
        detached: true,
        env: { PATH },
      });
      guard.on(
        "error",
        boundary(undefined, (error: Error) => this.#say(`keepalived could not be started: ${error.message}`)),
      );
      guard.on(
        "exit",
        boundary(undefined, (code: number | null) => {
          // It has refused to start: not to be waited for.
          if (this.#starting && code !== 0) this.#startedAt = Number.NEGATIVE_INFINITY;
        }),
      );
      guard.unref();
    } catch (error) {
      this.#say(`keepalived could not be started: ${sentence(error)}`);
    }
  }

  /** Once, as long as nothing else is to be said. */
  #say(text: string): void {
    if (text !== this.#said) this.#log().write("error", text);
    this.#said = text;
  }

  /** It gives its addresses up and ends. Returns whether it has. */
  stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): boolean {
    const pid = this.#running();
    if (pid !== undefined) kill(pid, signal);
    return pid === undefined;
  }

  /** This master has nothing more to do with it. */
  close(): void {
    if (this.#pipes === undefined) return;
    this.#read();
    const { life, lines, events } = this.#pipes;
    for (const fd of [life, lines.fd, events.fd]) closeSync(fd);
    this.#pipes = undefined;
  }

  #running(): number | undefined {
    const text = read(`${this.#directory}/${FILE.pid}`)?.trim() ?? "";
    if (!/^[1-9]\d{0,9}$/.test(text)) return undefined;
    // Whatever else may have that number by now.
    const command = read(`/proc/${text}/cmdline`);
    return command?.includes(`${this.#directory}/${FILE.conf}`) ? Number(text) : undefined;
  }

  #read(): void {
    for (const line of this.#pipes?.events.take(this.#buffer) ?? []) {
      const [, instance, state] = /^INSTANCE "([^"]+)" (\w+)/.exec(line) ?? [];
      if (instance !== undefined) this.#event(instance, state);
    }
    for (const line of this.#pipes?.lines.take(this.#buffer) ?? []) {
      // Its own date stands before each.
      const text = line.replace(/^\w{3} \w{3} +\d+ [\d:]{8} \d{4}: /, "");
      if (text !== "" && !CHATTER.test(text)) this.#log().write(levelOf(text), `keepalived: ${text}`);
    }
  }
}

function levelOf(text: string): Level {
  return /\b(?:error|fail|unable|unknown|invalid|cannot|can't|not exist|refus)/i.test(text) ? "warn" : "info";
}

/** Lines out of a pipe. */
class Lines {
  readonly fd: number;
  #rest = "";

  constructor(fd: number) {
    this.fd = fd;
  }

  take(buffer: Buffer): string[] {
    for (;;) {
      let read = 0;
      try {
        read = readSync(this.fd, buffer, 0, buffer.length, null);
      } catch (error) {
        if (errnoCode(error) !== "EAGAIN") throw error;
      }
      this.#rest += buffer.latin1Slice(0, read);
      if (read < buffer.length) break;
    }
    const lines = this.#rest.split("\n");
    this.#rest = (lines.pop() ?? "").slice(-READ_BYTES);
    return lines;
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(osPath(path), "latin1");
  } catch {
    return undefined;
  }
}

function remove(path: string): void {
  try {
    unlinkSync(osPath(path));
  } catch {
    // It was not there.
  }
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has just ended.
  }
}
