import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { CycleData } from "../../../src/runtime/cycle.ts";
import { reportLogFailures } from "../../../src/runtime/log/append_file.ts";
import { type ErrorLogTarget, openErrorLog } from "../../../src/runtime/log/error_log.ts";
import { LEVELS } from "../../../src/runtime/log/log.ts";
import { adoptLogFiles, closeLogFilesExcept, flushLogFiles, openLogFile } from "../../../src/runtime/log/log_files.ts";
import { openLog } from "../../../src/runtime/log/open_log.ts";
import { waitFor } from "../../support/wait.ts";

function directory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "holdfast-log-"));
  t.after(() => {
    closeLogFilesExcept(new Set());
    rmSync(path, { recursive: true });
  });
  return path;
}

function open(prefix: string, ...targets: ErrorLogTarget[]) {
  const data: CycleData = {
    generation: 1,
    directives: [],
    prefix: `${prefix}/`,
    confPrefix: `${prefix}/`,
    errorLog: `${prefix}/default.log`,
    zones: {},
    files: new Map(),
    hosts: {},
  };
  return openErrorLog(targets, { data, path: (path) => (path.startsWith("/") ? path : `${prefix}/${path}`) });
}

test("a line has nginx's form, and nothing in it can begin another", (t) => {
  const prefix = directory(t);
  const log = open(prefix, { to: "file", path: "a.log", level: "info" });
  log.write("error", "plain", 7);
  log.write("info", "evil\r\n2026/01/01 00:00:00 [emerg] forged\x00\x7f \xe9");
  log.write("debug", "not wanted");
  flushLogFiles();
  const lines = readFileSync(join(prefix, "a.log"), "latin1").split("\n");
  assert.equal(lines.length, 3);
  assert.match(lines[0], /^\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d \[error\] (\d+)#\1: \*7 plain$/);
  assert.match(lines[1], /\[info\] \d+#\d+: evil\\x0D\\x0A2026\/01\/01 00:00:00 \[emerg\] forged\\x00\\x7F \xe9$/);
});

test("each target takes its level and what is worse; several at one level each get the line", (t) => {
  const prefix = directory(t);
  const log = open(
    prefix,
    { to: "file", path: "crit.log", level: "crit" },
    { to: "file", path: "one.log", level: "warn" },
    { to: "file", path: "two.log", level: "warn" },
  );
  assert.deepEqual(
    LEVELS.filter((level) => log.wants(level)),
    ["stderr", "emerg", "alert", "crit", "error", "warn"],
  );
  for (const level of LEVELS) log.write(level, `of ${level}`);
  flushLogFiles();
  const levels = (name: string) =>
    [...readFileSync(join(prefix, name), "latin1").matchAll(/ of (\w+)$/gm)].map((match) => match[1]);
  assert.deepEqual(levels("crit.log"), ["stderr", "emerg", "alert", "crit"]);
  assert.deepEqual(levels("one.log"), ["stderr", "emerg", "alert", "crit", "error", "warn"]);
  assert.deepEqual(levels("two.log"), levels("one.log"));
});

test("without error_log, the default file has errors", (t) => {
  const prefix = directory(t);
  const log = open(prefix);
  log.write("warn", "not wanted");
  log.write("error", "wanted");
  flushLogFiles();
  assert.match(readFileSync(join(prefix, "default.log"), "latin1"), /^[^\n]* wanted\n$/);
});

test("a file is shared by its path; lines of one turn are one write; reopening follows the name", async (t) => {
  const prefix = directory(t);
  const path = join(prefix, "a.log");
  const file = openLogFile(path);
  assert.equal(openLogFile(path), file);
  file.append("one\n");
  file.append("two\n");
  assert.equal(readFileSync(path, "latin1"), "");
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(readFileSync(path, "latin1"), "one\ntwo\n");

  renameSync(path, `${path}.old`);
  file.append("three\n");
  const lent = openLog(path);
  adoptLogFiles(new Map([[path, lent]]));
  file.append("four\n");
  file.flush();
  assert.equal(readFileSync(`${path}.old`, "latin1"), "one\ntwo\nthree\n");
  assert.equal(readFileSync(path, "latin1"), "four\n");
  closeLogFilesExcept(new Set());
  // It is the lender's to close.
  closeSync(lent);
  adoptLogFiles(new Map());
});

test("a great batch does not wait for the end of the turn", (t) => {
  const path = join(directory(t), "a.log");
  const line = `${"x".repeat(1023)}\n`;
  const file = openLogFile(path);
  for (let i = 0; i < 100; i++) file.append(line);
  assert.ok(readFileSync(path, "latin1").length >= 64 * 1024);
});

test("a file closed as unused opens again by itself when it is written to", (t) => {
  const path = join(directory(t), "a.log");
  const file = openLogFile(path);
  file.append("one\n");
  closeLogFilesExcept(new Set());
  file.append("two\n");
  file.flush();
  assert.equal(readFileSync(path, "latin1"), "one\ntwo\n");
});

test("a file that cannot be opened is nginx's sentence; one that cannot be written throws nothing", (t) => {
  const prefix = directory(t);
  const path = join(prefix, "nowhere/a.log");
  assert.throws(() => openLogFile(path), { message: `open() "${path}" failed (2: No such file or directory)` });
});

test("a full disk loses lines and nothing else", () => {
  const file = openLogFile("/dev/full");
  file.append("one\n");
  file.flush();
  file.append("two\n");
  file.flush();
  closeLogFilesExcept(new Set());
});

/** A pipe of the file system's, both ends in this process. */
function pipe(t: TestContext): { readonly path: string; read(): string } {
  const path = join(directory(t), "pipe");
  execFileSync("mkfifo", [path]);
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  t.after(() => closeSync(fd));
  const bytes = Buffer.alloc(1 << 16);
  return {
    path,
    read() {
      try {
        return bytes.toString("latin1", 0, readSync(fd, bytes));
      } catch {
        return "";
      }
    },
  };
}

test("what a full pipe does not take waits for its reader, long lines too, and in order", async (t) => {
  const { path, read } = pipe(t);
  const file = openLogFile(path);
  let expected = "";
  for (let i = 0; i < 300; i++) {
    const line = `${i}:${"x".repeat(i % 50 === 49 ? 20_000 : (i * 7919) % 2000)}\n`;
    expected += line;
    file.append(line);
  }
  let got = "";
  await waitFor(() => {
    got += read();
    return got.length >= expected.length;
  });
  assert.equal(got, expected);
});

test("the end waits for a full pipe for a while, and says how many lines it gave up", (t) => {
  const said: string[] = [];
  reportLogFailures((text) => said.push(text));
  t.after(() => reportLogFailures(() => {}));
  const { path, read } = pipe(t);
  const file = openLogFile(path);
  for (let i = 0; i < 1000; i++) file.append(`${"x".repeat(99)}\n`);
  flushLogFiles();
  let got = "";
  for (let more = read(); more !== ""; more = read()) got += more;
  const [, lost] = /^write\(\) to ".*pipe" was incomplete: (\d+) lines are lost/.exec(said[0] ?? "") ?? [];
  assert.equal(got.length / 100 + Number(lost), 1000);
});

test("where a disk was full within a line, its end comes when there is room, and every line is whole", async (t) => {
  const path = directory(t);
  const size = "size=64k,mode=1777";
  if (process.getuid?.() !== 0 || spawnSync("mount", ["-t", "tmpfs", "-o", size, "tmpfs", path]).status !== 0) {
    t.skip("cannot mount a small disk here");
    return;
  }
  try {
    writeFileSync(join(path, "filler"), Buffer.alloc(20_000));
    const file = openLogFile(join(path, "a.log"));
    for (let i = 0; i < 60; i++) file.append(`${"x".repeat(999)}\n`);
    file.flush();
    const full = readFileSync(join(path, "a.log"), "latin1");
    assert.notEqual(full.at(-1), "\n");
    rmSync(join(path, "filler"));
    const all = await waitFor(() => {
      file.append("y\n");
      file.flush();
      const text = readFileSync(join(path, "a.log"), "latin1");
      return text.endsWith("y\n") ? text : undefined;
    });
    for (const line of all.trimEnd().split("\n")) assert.match(line, /^(x{999}|y)$/);
  } finally {
    closeLogFilesExcept(new Set());
    spawnSync("umount", [path]);
  }
});
