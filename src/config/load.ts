import { Parser } from "./parser.ts";
import type { Directives, Scope, Specs } from "./schema.ts";
import { buildScopes } from "./scopes.ts";
import type { ConfigTree } from "./types.ts";

export interface LoadOptions {
  /** The path of the configuration file, absolute; errors print it as it stands here. */
  readonly confFile: string;
  /** The directory relative `include` paths start from; ends with "/". */
  readonly confPrefix: string;
  /** The `-g` option's directives; read before the file. */
  readonly globals?: string;
}

/** Reads a configuration and all it includes. Throws ConfigError; byte strings throughout. */
export function loadTree(options: LoadOptions): ConfigTree {
  return read(options, undefined);
}

/**
 * Reads a configuration and gives it its meaning. Where both the grammar and a directive are wrong, the error nginx
 * finds first, reading from the top, is the one thrown (ConfigError).
 */
export function loadConfig(
  options: LoadOptions,
  tables: readonly Directives<Specs>[],
): { readonly tree: ConfigTree; readonly root: Scope } {
  const tree = read(options, tables);
  return { tree, root: buildScopes(tree, tables) };
}

function read(options: LoadOptions, tables: readonly Directives<Specs>[] | undefined): ConfigTree {
  const parser = new Parser(options.confPrefix);
  const tree: ConfigTree = { files: parser.files, directives: parser.directives };
  try {
    if (options.globals !== undefined && options.globals !== "") parser.option(options.globals);
    parser.file(options.confFile);
  } catch (error) {
    // What stands before the broken place may be wrong too, and nginx would have said that first.
    if (tables !== undefined) buildScopes(tree, tables);
    throw error;
  }
  return tree;
}
