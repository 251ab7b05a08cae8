import { beginBuilding } from "../sys/v8_flags.ts";
import { refusalsOf } from "./errors.ts";
import { Parser } from "./parser.ts";
import type { Directives, Scope, Specs } from "./schema.ts";
import { readScopes } from "./scopes.ts";
import { ConfigError, type ConfigTree } from "./types.ts";

export interface LoadOptions {
  /** The path of the configuration file, absolute; errors print it as it stands here. */
  readonly confFile: string;
  /** The directory relative `include` paths start from; ends with "/". */
  readonly confPrefix: string;
  /** The `-g` option's directives; read before the file. */
  readonly globals?: string;
}

export interface LoadedConfig {
  readonly tree: ConfigTree;
  readonly root: Scope;
  /** No syntax error ended the reading. */
  readonly complete: boolean;
}

/**
 * Reads a configuration with all it includes and gives it its meaning; byte strings throughout. What is wrong is left in
 * `refusalsOf(root)`, so that the caller may look for more. A syntax error ends the reading: nothing after it can be
 * understood, and blocks that were open then have no `endLine`.
 */
export function readConfig(options: LoadOptions, tables: readonly Directives<Specs>[]): LoadedConfig {
  const parser = new Parser(options.confPrefix);
  let syntaxError: ConfigError | undefined;
  try {
    if (options.globals !== undefined && options.globals !== "") parser.option(options.globals);
    parser.file(options.confFile);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    syntaxError = error;
  }
  const tree: ConfigTree = { files: parser.files, directives: parser.directives };
  const built = beginBuilding(textLength(tree));
  const root = readScopes(tree, tables);
  built();
  if (syntaxError !== undefined) refusalsOf(root).note(syntaxError, "end");
  return { tree, root, complete: syntaxError === undefined };
}

/** The characters of all files. */
export function textLength({ files }: ConfigTree): number {
  return files.reduce((sum, { text }) => sum + text.length, 0);
}
