import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after } from "node:test";
import { loadConfig, loadTree } from "../../src/config/load.ts";
import type { Scope } from "../../src/config/schema.ts";
import { ConfigError, type ConfigTree } from "../../src/config/types.ts";
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

export function parse(directory: string, text: string, globals?: string): ConfigTree {
  return loadTree({ confFile: write(directory, "nginx.conf", text), confPrefix: directory, globals });
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
