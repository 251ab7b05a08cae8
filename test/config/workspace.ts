import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after } from "node:test";
import { refusalsOf } from "../../src/config/errors.ts";
import { type LoadedConfig, type LoadOptions, readConfig } from "../../src/config/load.ts";
import { Parser } from "../../src/config/parser.ts";
import type { Directives, Scope, Specs } from "../../src/config/schema.ts";
import { ConfigError, type ConfigTree, type Directive } from "../../src/config/types.ts";
import { tables } from "./tables.ts";

/** A directory for configuration files, gone when the tests of the file end. Ends with "/". */
export function workspace(): string {
  const directory = `${mkdtempSync(join(tmpdir(), "holdfast-config-"))}/`;
  after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Writes a file of a byte string. */
export function write(directory: string, name: string, text: string): string {
  const path = directory + name;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text, "latin1");
  return path;
}

/** Reads a configuration and gives it its meaning. Throws the ConfigError that nginx finds first, with all others. */
export function loadConfig(options: LoadOptions, tables: readonly Directives<Specs>[]): LoadedConfig {
  const loaded = readConfig(options, tables);
  refusalsOf(loaded.root).throwAll(loaded.tree);
  return loaded;
}

export function parse(directory: string, text: string, globals = ""): ConfigTree {
  const parser = new Parser(directory);
  const file = write(directory, "nginx.conf", text);
  if (globals !== "") parser.option(globals);
  parser.file(file);
  const failed = firstFailed(parser.directives);
  if (failed !== undefined) throw failed;
  return { files: parser.files, directives: parser.directives };
}

function firstFailed(directives: readonly Directive[]): ConfigError | undefined {
  const left = [...directives];
  for (const { failed, block = [] } of left) {
    if (failed !== undefined) return failed;
    left.push(...block);
  }
  return undefined;
}

export function build(directory: string, text: string, globals?: string): Scope {
  return loadConfig({ confFile: write(directory, "nginx.conf", text), confPrefix: directory, globals }, tables).root;
}

/** The sentence of the error that `run` ends with; fails where it ends well. */
export function errorOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigError) return error.toString();
    throw error;
  }
  throw new Error("no error");
}
