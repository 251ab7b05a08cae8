import { KNOWN } from "./known.ts";
import { type DirectiveSpec, type Directives, fail, type Scope, type Specs } from "./schema.ts";
import type { ConfigTree, Context, Directive } from "./types.ts";

type AnySpec = DirectiveSpec<unknown>;

/** The declarations of each directive's name: several modules may have one of the same name, each in its own contexts. */
type Vocabulary = ReadonlyMap<string, readonly AnySpec[]>;

const ROOT: Directive = { name: "", args: [], file: "", line: 0 };

/**
 * Gives a parsed configuration its meaning: checks every directive in the order written against its declaration, reads
 * it, and opens a scope for each block that has a context. Throws ConfigError in nginx's words.
 */
export function buildScopes(tree: ConfigTree, tables: readonly Directives<Specs>[]): Scope {
  const root = newScope("main", ROOT, undefined);
  fill(root, tree.directives, vocabularyOf(tables));
  return root;
}

function vocabularyOf(tables: readonly Directives<Specs>[]): Vocabulary {
  const vocabulary = new Map<string, AnySpec[]>();
  for (const table of tables) {
    for (const [name, spec] of Object.entries(table.specs)) {
      const specs = vocabulary.get(name);
      if (specs === undefined) vocabulary.set(name, [spec]);
      else specs.push(spec);
    }
  }
  return vocabulary;
}

function newScope(context: Context, directive: Directive, parent: Scope | undefined): Scope {
  return {
    context,
    directive,
    parent,
    values: new Map(),
    places: new Map(),
    children: [],
    order: [],
    notes: parent?.notes ?? new Map(),
  };
}

function fill(scope: Scope, directives: readonly Directive[], vocabulary: Vocabulary): void {
  for (const directive of directives) {
    const spec = specFor(directive, scope.context, vocabulary);
    checkShape(directive, spec);
    const isSecond = scope.values.has(spec);
    if (isSecond && spec.repeat !== true) fail(directive, `"${directive.name}" directive is duplicate`);

    const value = read(spec, directive, scope, isSecond ? scope.values.get(spec) : undefined);
    scope.values.set(spec, value);
    if (!isSecond) scope.places.set(spec, directive);

    const child = open(spec, directive, scope);
    scope.order.push(child === undefined ? { spec, directive } : { spec, directive, child });
    if (child === undefined) continue;
    scope.children.push(child);
    fill(child, directive.block ?? [], vocabulary);
    if (directive.endLine !== undefined) spec.close?.(child);
  }
}

function open(spec: AnySpec, directive: Directive, scope: Scope): Scope | undefined {
  if (spec.block === undefined || spec.block === "free") return undefined;
  const context = typeof spec.block === "function" ? spec.block(scope.context) : spec.block;
  return newScope(context, directive, scope);
}

/** A block whose lines `read` takes as they are (map, types) may hold no further block. */
function read(spec: AnySpec, directive: Directive, scope: Scope, previous: unknown): unknown {
  const nested = spec.block === "free" ? directive.block?.findIndex((line) => line.block !== undefined) : undefined;
  if (nested === undefined || nested < 0 || directive.block === undefined) return spec.read(directive, scope, previous);
  spec.read({ ...directive, block: directive.block.slice(0, nested) }, scope, previous);
  return fail(directive.block[nested], 'unexpected "{"');
}

function specFor(directive: Directive, context: Context, vocabulary: Vocabulary): AnySpec {
  const { name } = directive;
  const specs = vocabulary.get(name);
  const spec = specs?.find((candidate) => candidate.in.includes(context));
  if (spec !== undefined) return spec;
  if (specs !== undefined) fail(directive, `"${name}" directive is not allowed here`);
  if (name === "include") {
    // The parser has replaced every well-formed one by what the file holds.
    if (directive.block !== undefined) fail(directive, 'directive "include" is not terminated by ";"');
    fail(directive, 'invalid number of arguments in "include" directive');
  }
  if (KNOWN.has(name)) fail(directive, `"${name}" directive is known to nginx but not available in Holdfast yet`);
  return fail(directive, `unknown directive "${name}"`);
}

function checkShape(directive: Directive, spec: AnySpec): void {
  const { name, args, block } = directive;
  if (spec.block === undefined && block !== undefined) fail(directive, `directive "${name}" is not terminated by ";"`);
  if (spec.block !== undefined && block === undefined) fail(directive, `directive "${name}" has no opening "{"`);
  const [least, most] = spec.args;
  if (args.length < least || args.length > most) {
    fail(directive, `invalid number of arguments in "${name}" directive`);
  }
}
