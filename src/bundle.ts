import type { boot } from "./boot.ts";
import { CHILD_TEXT } from "./sys/program_text.ts";

// What dist/holdfast.mjs is made from (scripts/build.mjs). It runs dist/program.js, boot.ts with all that it imports in one
// script, with the bytecode that V8 has made of it before: parsing and compiling it would take each process some 70 ms.

// `import` would ask node:fs for everything that it exports, for which Node loads streams and promises: 9 ms.
const { fstatSync, openSync, readFileSync, readSync, renameSync, rmSync, writeFileSync } =
  process.getBuiltinModule("node:fs");
const { fileURLToPath } = process.getBuiltinModule("node:url");
const { Script } = process.getBuiltinModule("node:vm");

/** The script's value: it puts what boot.ts exports into `module`. */
type Load = (
  module: { exports: { boot?: typeof boot } },
  require: typeof process.getBuiltinModule,
  importMetaUrl: string,
) => void;

const program = new URL("program.js", import.meta.url);
/** A child has it from its master (sys/program_text.ts). */
const given = process.env.HOLDFAST_CHILD !== undefined && isFile(CHILD_TEXT);
/** Stays open, for children of this process. */
const text = given ? CHILD_TEXT : openSync(program, "r");
const source = readWhole(text);
/** The program's hash, a comment at its end. V8 itself compares no more than the length. */
const hash = source.slice(source.lastIndexOf("//"));

const file = fileURLToPath(new URL("program.cache", import.meta.url));

function isFile(fd: number): boolean {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false;
  }
}

/** From its beginning, wherever others who have the descriptor have read to. */
function readWhole(fd: number): string {
  const bytes = Buffer.allocUnsafeSlow(fstatSync(fd).size);
  let length = 0;
  for (let read = -1; read !== 0 && length < bytes.length; length += read)
    read = readSync(fd, bytes, length, bytes.length - length, length);
  return bytes.latin1Slice(0, length);
}

/** Of this program; whether V8 can use it depends on its version and flags. */
function readCache(): Buffer | undefined {
  try {
    const cache = readFileSync(file);
    return cache.subarray(-hash.length).latin1Slice() === hash ? cache.subarray(0, -hash.length) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Bytecode of nothing. V8 notes at the head of bytecode the flags in force, and takes it under no others: this one says which
 * those are.
 */
const probe = () => new Script("").createCachedData();

/**
 * With the functions that have been called. Not everybody may write it: who may not does without. `before`: what was probed when the
 * program was loaded; meanwhile flags have been set (sys/v8_flags.ts) that change nothing in bytecode.
 */
function writeCache(script: InstanceType<typeof Script>, before: Buffer): void {
  const temporary = `${file}.${process.pid}`;
  try {
    const bytecode = script.createCachedData();
    for (const [i, byte] of probe().entries()) if (before[i] !== byte && bytecode[i] === byte) bytecode[i] = before[i];
    writeFileSync(temporary, Buffer.concat([bytecode, Buffer.from(hash, "latin1")]), { flag: "wx" });
    renameSync(temporary, file);
  } catch {
    rmSync(temporary, { force: true });
  }
}

/** A thread has the flags of its process, with which V8 refuses what was made without them. */
const isMainThread = () => process.getBuiltinModule("node:worker_threads").isMainThread;

/**
 * What boot.ts exports. Nothing that stays refers to the script, but for the process that is to write its bytecode: the code that has run
 * once takes 0.4 MB.
 */
function loadProgram() {
  const cachedData = readCache();
  const script = new Script(source, { filename: program.href, cachedData });
  if ((cachedData === undefined || script.cachedDataRejected) && isMainThread() && !given) writeAtExit(script);
  const load: Load = script.runInThisContext();
  const module: Parameters<Load>[0] = { exports: {} };
  load(module, process.getBuiltinModule, program.href);
  return module.exports;
}

function writeAtExit(script: InstanceType<typeof Script>): void {
  const before = probe();
  process.once("exit", () => writeCache(script, before));
}

loadProgram().boot?.(new URL(import.meta.url), text);
