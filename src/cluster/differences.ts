import { keyedNode } from "./group/opinions.ts";
import type { Matrix, NodeRow } from "./matrix.ts";

/** Clocks that are so far apart are worth a word, ms. */
const CLOCKS_APART = 1000;
/** They are together again, ms. */
const CLOCKS_TOGETHER = 500;

export type DifferenceKind = "configuration" | "version" | "nodes" | "clock" | "twice";

/** In what another node differs from this one. Texts are byte strings. */
export interface Difference {
  readonly kind: DifferenceKind;
  readonly node: string;
  /** Changes when the difference does. */
  readonly key: string;
  /** A sentence. */
  readonly text: string;
}

/** Which other nodes a node names; undefined: that is not known. */
export type Named = (node: string) => readonly string[] | undefined;

/** How the other nodes that are heard differ from the one whose matrix it is. `before`: those that were known. */
function differencesOf(
  { self, nodes }: Pick<Matrix, "self" | "nodes">,
  named: Named,
  before: readonly Difference[] = [],
): Difference[] {
  const own = nodes.find(({ name }) => name === self)?.facts;
  if (own === undefined) return [];
  const differences: Difference[] = [];
  for (const { name, facts, clockAhead, twice, self: isOwn } of nodes) {
    const add = (kind: DifferenceKind, key: string, text: string) =>
      differences.push({ kind, node: name, key: `${kind} ${name} ${key}`, text });
    if (twice !== undefined) {
      const where = twice[0] === twice[1] ? `both at ${twice[0]}` : `at ${twice.join(" and ")}`;
      add("twice", where, `two nodes say that they are ${name}, ${where}: one of them has a wrong "self"`);
    }
    if (isOwn || facts === undefined) continue;
    const { configuration, version } = facts;
    if (configuration !== own.configuration) {
      const text = `node ${name} has another configuration (${configuration}) than ${self} (${own.configuration})`;
      add("configuration", `${configuration} ${own.configuration}`, text);
    }
    if (version !== own.version)
      add("version", `${version} ${own.version}`, `node ${name} runs Holdfast ${version}, ${self} ${own.version}`);
    const others = namesApart(nodes, name, named(name));
    if (others !== "") add("nodes", others, `node ${name} ${others}`);
    const known = before.some((one) => one.kind === "clock" && one.node === name);
    if (Math.abs(clockAhead) > (known ? CLOCKS_TOGETHER : CLOCKS_APART)) {
      const side = clockAhead > 0 ? "ahead of" : "behind";
      add("clock", side, `the clock of node ${name} is ${seconds(clockAhead)} s ${side} that of ${self}`);
    }
  }
  return differences;
}

function seconds(ms: number): string {
  return (Math.abs(ms) / 1000).toFixed(1);
}

/** Which nodes one names that this one does not, and the other way round; "" where they are the same. */
function namesApart(nodes: readonly NodeRow[], name: string, theirs: readonly string[] | undefined): string {
  if (theirs === undefined) return "";
  const ours = nodes.map((node) => node.name);
  const more = theirs.filter((one) => !ours.includes(one));
  const less = ours.filter((one) => one !== name && !theirs.includes(one));
  return [
    ...(more.length > 0 ? [`names ${more.join(", ")}, which this one does not`] : []),
    ...(less.length > 0 ? [`does not name ${less.join(", ")}`] : []),
  ].join(" and ");
}

/** The other nodes that a node names, by its opinions. */
export function namedIn(opinions: ReadonlyMap<string, unknown>): string[] {
  const found: string[] = [];
  for (const key of opinions.keys()) {
    const node = keyedNode(key);
    if (node !== undefined) found.push(node);
  }
  return found;
}

const TOGETHER: Readonly<Record<DifferenceKind, (node: string) => string>> = {
  configuration: (node) => `node ${node} has this node's configuration`,
  version: (node) => `node ${node} has this node's version of Holdfast`,
  nodes: (node) => `node ${node} names the nodes that this one names`,
  clock: (node) => `the clock of node ${node} is right again`,
  twice: (node) => `there is one node ${node} again`,
};

/** Tells a log of differences when they come and go. */
export class DifferenceLog {
  #known: readonly Difference[] = [];
  readonly #write: (level: "warn" | "notice", text: string) => void;

  constructor(write: (level: "warn" | "notice", text: string) => void) {
    this.#write = write;
  }

  /** What was said before, by the same node under an earlier configuration, is not said again. */
  goOn(previous: DifferenceLog): void {
    this.#known = previous.#known;
  }

  /** Returns those that there are now. */
  look(matrix: Pick<Matrix, "self" | "nodes">, named: Named): readonly Difference[] {
    const now = differencesOf(matrix, named, this.#known);
    const heard = new Set(matrix.nodes.flatMap(({ name, facts }) => (facts === undefined ? [] : [name])));
    for (const { key, text } of now) {
      if (!this.#known.some((known) => known.key === key)) this.#write("warn", text);
    }
    for (const { kind, node } of this.#known) {
      if (heard.has(node) && !now.some((one) => one.kind === kind && one.node === node)) {
        this.#write("notice", TOGETHER[kind](node));
      }
    }
    // Nothing is new of a node that is not heard for a while.
    this.#known = [...now, ...this.#known.filter(({ node }) => !heard.has(node))];
    return now;
  }
}
