import { type Sliced, whole } from "../sys/sliced.ts";
import { refusalsOf } from "./errors.ts";
import { INSTEAD, KNOWN, ONLY_IN_MAIL } from "./known.ts";
import {
  type DirectiveSpec,
  type Directives,
  fail,
  noteSet,
  type Scope,
  type Specs,
  settle,
  unsettled,
  withoutLines,
} from "./schema.ts";
import { HalfSealedBlock, SealedBlock } from "./sealed_block.ts";
import type { Block, ConfigTree, Context, Directive } from "./types.ts";

type AnySpec = DirectiveSpec<unknown>;

/** Declarations by name: several modules may have a directive of the same name, in different contexts. */
type Vocabulary = ReadonlyMap<string, readonly AnySpec[]>;

const MODULES = Symbol("modules");

/** Whether there is a module of that name (nginx's, without `ngx_` and `_module`). */
export function hasModule(scope: Scope, name: string): boolean {
  const modules = scope.notes.get(MODULES);
  return modules instanceof Set && modules.has(name);
}

const ROOT: Directive = { name: "", args: [], file: "", line: 0 };

/** `readScopes` in slices. Throws the ConfigError that nginx would report. */
export function* buildingScopes(tree: ConfigTree, tables: readonly Directives<Specs>[]): Sliced<Scope> {
  const root = newRoot(tables);
  yield* fill(root, tree.directives, vocabularyOf(tables));
  settle(root);
  refusalsOf(root).throwAll(tree);
  return root;
}

/**
 * Checks every directive of a parsed configuration against its declaration, in the order written, reads its value, and
 * makes a scope for each block with a context. Directives with errors are left out; the errors are in `refusalsOf(root)`.
 */
export function readScopes(tree: ConfigTree, tables: readonly Directives<Specs>[]): Scope {
  const root = newRoot(tables);
  whole(fill(root, tree.directives, vocabularyOf(tables)));
  settle(root);
  return root;
}

function newRoot(tables: readonly Directives<Specs>[]): Scope {
  const root = new OpenScope("main", ROOT, undefined);
  root.notes.set(MODULES, new Set(tables.map(({ name }) => name)));
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

/** The scope of a block that is read at once. */
class OpenScope implements Scope {
  readonly context: Context;
  readonly directive: Directive;
  readonly parent: Scope | undefined;
  readonly values: Scope["values"] = new Map();
  readonly places: Scope["places"] = new Map();
  readonly children: Scope[] = [];
  readonly order: Scope["order"] = [];
  readonly notes: Scope["notes"];

  constructor(context: Context, directive: Directive, parent: Scope | undefined) {
    this.context = context;
    this.directive = directive;
    this.parent = parent;
    this.notes = parent?.notes ?? new Map();
  }

  get hasChildren(): boolean {
    return this.children.length > 0;
  }
}

/** The scope of a sealed block: filled when it is first looked into. */
class LateScope implements Scope {
  readonly context: Context;
  readonly directive: Directive;
  readonly parent: Scope;
  readonly #vocabulary: Vocabulary;
  #filled: Scope | undefined;

  constructor(context: Context, directive: Directive, parent: Scope, vocabulary: Vocabulary) {
    this.context = context;
    this.directive = directive;
    this.parent = parent;
    this.#vocabulary = vocabulary;
  }

  get isRead(): boolean {
    return this.#filled !== undefined;
  }

  get notes(): Scope["notes"] {
    return this.parent.notes;
  }

  get values(): Scope["values"] {
    return this.#read().values;
  }

  get places(): Scope["places"] {
    return this.#read().places;
  }

  get children(): Scope["children"] {
    return this.#read().children;
  }

  get hasChildren(): boolean {
    return this.children.length > 0;
  }

  get order(): Scope["order"] {
    return this.#read().order;
  }

  #read(): Scope {
    if (this.#filled !== undefined) return this.#filled;
    const { context, directive, parent } = this;
    const filled = new OpenScope(context, directive, parent);
    this.#filled = filled;
    try {
      unsettled(this, () => whole(fill(this, directive.block ?? [], this.#vocabulary)));
    } catch (error) {
      this.#filled = undefined;
      throw error;
    }
    return filled;
  }
}

/** The scope of a half sealed block: the blocks in it are read when they are first looked for. */
class HalfReadScope implements Scope {
  readonly context: Context;
  readonly directive: Directive;
  readonly parent: Scope;
  readonly values: Scope["values"] = new Map();
  readonly places: Scope["places"] = new Map();
  readonly notes: Scope["notes"];
  readonly hasChildren = true;
  readonly #vocabulary: Vocabulary;
  readonly #children: Scope[] = [];
  readonly #order: Scope["order"] = [];
  /** What is left to read, once the rest has been. */
  #sealed: SealedBlock | undefined;

  constructor(context: Context, directive: Directive, parent: Scope, vocabulary: Vocabulary) {
    this.context = context;
    this.directive = directive;
    this.parent = parent;
    this.notes = parent.notes;
    this.#vocabulary = vocabulary;
  }

  /** Everything else has been read. */
  halfRead(sealed: SealedBlock): void {
    this.#sealed = sealed;
  }

  get isRead(): boolean {
    return this.#sealed === undefined;
  }

  get children(): Scope["children"] {
    this.#read();
    return this.#children;
  }

  get order(): Scope["order"] {
    this.#read();
    return this.#order;
  }

  #read(): void {
    const sealed = this.#sealed;
    if (sealed === undefined) return;
    this.#sealed = undefined;
    unsettled(this, () => whole(fill(this, sealed, this.#vocabulary)));
  }
}

/** False for a sealed or half sealed block that nobody has looked into yet. Nothing in it reaches out (`reachesOut`). */
export function isRead(scope: Scope): boolean {
  return !(scope instanceof LateScope || scope instanceof HalfReadScope) || scope.isRead;
}

function* fill(scope: Scope, directives: Block, vocabulary: Vocabulary): Sliced<void> {
  const refusals = refusalsOf(scope);
  for (const directive of directives) {
    const taken =
      directive.block === undefined
        ? refusals.attempt(() => line(scope, directive, vocabulary))
        : yield* refusals.attemptSliced(block(scope, directive, vocabulary));
    if (taken === undefined) refusals.leaveOut(directive);
  }
  yield;
}

function declarationOf(scope: Scope, directive: Directive, vocabulary: Vocabulary): AnySpec {
  if (directive.failed !== undefined) throw directive.failed;
  const spec = specFor(directive, scope.context, vocabulary);
  checkShape(directive, spec);
  return spec;
}

/** A directive without a block. Returns true; throws if it is refused. */
function line(scope: Scope, directive: Directive, vocabulary: Vocabulary): true {
  const spec = declarationOf(scope, directive, vocabulary);
  set(scope, spec, directive);
  scope.order.push({ spec, directive });
  return true;
}

/** A directive with a block. */
function* block(scope: Scope, directive: Directive, vocabulary: Vocabulary): Sliced<true> {
  const spec = declarationOf(scope, directive, vocabulary);
  try {
    yield* setBlock(scope, spec, directive);
  } catch (error) {
    // Looks for errors inside the block as well.
    const inside = open(spec, directive, scope, vocabulary);
    if (inside !== undefined) yield* fill(inside, directive.block ?? [], vocabulary);
    throw error;
  }
  const child = open(spec, directive, scope, vocabulary);
  if (child === undefined) {
    scope.order.push({ spec, directive: withoutLines(directive) });
    return true;
  }
  scope.order.push({ spec, directive, child });
  scope.children.push(child);
  if (child instanceof LateScope) return true;
  if (directive.block instanceof HalfSealedBlock && child instanceof HalfReadScope) {
    yield* fill(child, directive.block.open, vocabulary);
    child.halfRead(directive.block.sealed);
    return true;
  }
  const refusals = refusalsOf(scope);
  const before = refusals.count;
  yield* fill(child, directive.block ?? [], vocabulary);
  // With directives left out, a check of the whole block would be misleading.
  if (refusals.count > before) refusals.leaveOut({ ...directive, block: [] });
  else if (directive.endLine !== undefined) spec.close?.(child);
  return true;
}

function set(scope: Scope, spec: AnySpec, directive: Directive): void {
  const previous = previousOf(scope, spec, directive);
  scope.values.set(spec, spec.read(directive, scope, previous));
  noteSet(scope, spec, directive);
}

function* setBlock(scope: Scope, spec: AnySpec, directive: Directive): Sliced<void> {
  const previous = previousOf(scope, spec, directive);
  scope.values.set(spec, yield* read(spec, directive, scope, previous));
  noteSet(scope, spec, spec.block === "free" ? withoutLines(directive) : directive);
}

/** What the same directive has set before in the same block. */
function previousOf(scope: Scope, spec: AnySpec, directive: Directive): unknown {
  if (!scope.values.has(spec)) return undefined;
  if (spec.repeat !== true) fail(directive, `"${directive.name}" directive is duplicate`);
  return scope.values.get(spec);
}

function open(spec: AnySpec, directive: Directive, scope: Scope, vocabulary: Vocabulary): Scope | undefined {
  if (spec.block === undefined || spec.block === "free") return undefined;
  const context = typeof spec.block === "function" ? spec.block(scope.context) : spec.block;
  if (directive.block instanceof SealedBlock) return new LateScope(context, directive, scope, vocabulary);
  if (directive.block instanceof HalfSealedBlock) return new HalfReadScope(context, directive, scope, vocabulary);
  return new OpenScope(context, directive, scope);
}

/** Lines of a block that are looked at between two looks at the time. */
const LINES = 4096;

/** A block that `read` handles itself (map, types) may not contain blocks. */
function* read(spec: AnySpec, directive: Directive, scope: Scope, previous: unknown): Sliced<unknown> {
  const { block } = directive;
  if (spec.block !== "free" || block === undefined) return spec.read(directive, scope, previous);
  if (!Array.isArray(block)) return yield* readLines(spec, directive, scope, previous);
  let right = 0;
  while (right < block.length && block[right].failed === undefined && block[right].block === undefined) {
    if (++right % LINES === 0) yield;
  }
  if (right === block.length) return yield* readLines(spec, directive, scope, previous);
  const refusals = refusalsOf(scope);
  for (const { failed } of block) if (failed !== undefined) refusals.note(failed);
  const lines = block.filter(({ failed }) => failed === undefined);
  const nested = lines.findIndex((line) => line.block !== undefined);
  if (nested < 0) return yield* readLines(spec, { ...directive, block: lines }, scope, previous);
  yield* readLines(spec, { ...directive, block: lines.slice(0, nested) }, scope, previous);
  return fail(lines[nested], 'unexpected "{"');
}

function* readLines(spec: AnySpec, directive: Directive, scope: Scope, previous: unknown): Sliced<unknown> {
  if (spec.readSliced === undefined) return spec.read(directive, scope, previous);
  return yield* spec.readSliced(directive, scope, previous);
}

/** Blocks in which nginx's other directives mean nothing. */
const NOT_NGINX: ReadonlySet<Context> = new Set<Context>(["session_listen", "cluster"]);

function specFor(directive: Directive, context: Context, vocabulary: Vocabulary): AnySpec {
  const { name } = directive;
  const specs = vocabulary.get(name);
  const spec = specs?.find((candidate) => candidate.in.includes(context));
  if (spec !== undefined) return spec;
  // What is a directive of a block of Holdfast's own as well was another one of nginx's once.
  const was = Object.hasOwn(INSTEAD, name) && !NOT_NGINX.has(context);
  if (specs !== undefined && !was) fail(directive, `"${name}" directive is not allowed here`);
  if (name === "include") {
    // The parser has handled those that are well-formed.
    if (directive.block !== undefined) fail(directive, 'directive "include" is not terminated by ";"');
    fail(directive, 'invalid number of arguments in "include" directive');
  }
  if (NOT_NGINX.has(context)) fail(directive, `"${name}" is no directive of the block of "${context}"`);
  if (ONLY_IN_MAIL.has(name)) fail(directive, `"${name}" directive is not available in Holdfast: it has no mail proxy`);
  if (KNOWN.has(name)) fail(directive, `"${name}" directive is known to nginx but not available in Holdfast yet`);
  const instead = Object.hasOwn(INSTEAD, name) ? `, use ${INSTEAD[name]} instead` : "";
  return fail(directive, `unknown directive "${name}"${instead}`);
}

function checkShape(directive: Directive, spec: AnySpec): void {
  const { name, args, block } = directive;
  if (spec.block === undefined && block !== undefined) fail(directive, `directive "${name}" is not terminated by ";"`);
  if (spec.block !== undefined && block === undefined && spec.blockOptional !== true)
    fail(directive, `directive "${name}" has no opening "{"`);
  const [least, most] = spec.args;
  if (args.length < least || args.length > most) {
    fail(directive, `invalid number of arguments in "${name}" directive`);
  }
}
