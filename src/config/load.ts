import { Parser } from "./parser.ts";
import { refusalsOf } from "./refusals.ts";
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
  /** The reading was not ended by an error of the grammar. */
  readonly complete: boolean;
}

/** Reads a configuration and all it includes. Throws ConfigError; byte strings throughout. */
export function loadTree(options: LoadOptions): ConfigTree {
  const { tree, broken, failures } = parse(options);
  const [first = broken] = failures;
  if (first !== undefined) throw first;
  return tree;
}

/** Reads a configuration and gives it its meaning. Throws the ConfigError that nginx finds first, with all others. */
export function loadConfig(options: LoadOptions, tables: readonly Directives<Specs>[]): LoadedConfig {
  const loaded = readConfig(options, tables);
  refusalsOf(loaded.root).throwAll(loaded.tree);
  return loaded;
}

/**
 * The same, but what is wrong is left in `refusalsOf(root)`, so that more can be looked for in the rest. An error of the
 * grammar ends the reading: nothing behind it can be understood, and blocks that were open then have no `endLine`.
 */
export function readConfig(options: LoadOptions, tables: readonly Directives<Specs>[]): LoadedConfig {
  const { tree, broken } = parse(options);
  const root = readScopes(tree, tables);
  if (broken !== undefined) refusalsOf(root).note(broken, "end");
  return { tree, root, complete: broken === undefined };
}

interface Parsed {
  readonly tree: ConfigTree;
  /** The error of the grammar that ended the reading. */
  readonly broken: ConfigError | undefined;
  /** Of includes; each stands in the tree as well. */
  readonly failures: readonly ConfigError[];
}

function parse(options: LoadOptions): Parsed {
  const parser = new Parser(options.confPrefix);
  const { files, directives, failures } = parser;
  const tree: ConfigTree = { files, directives };
  try {
    if (options.globals !== undefined && options.globals !== "") parser.option(options.globals);
    parser.file(options.confFile);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { tree, broken: error, failures };
  }
  return { tree, broken: undefined, failures };
}
