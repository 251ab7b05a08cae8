import type { CompiledRegex } from "../../regex/regex.ts";
import type { LocationName } from "./location_name.ts";

/**
 * The choice of a location by URI, as ngx_http_core_find_location makes it. Prefixes live in a sorted tree that
 * compares each part of the URI once; regular expressions are tried in the order written.
 */

/** One location and where it leads. `L` is whatever the caller keeps for a location. */
export interface LocationEntry<L> extends LocationName {
  readonly location: L;
  /** For a regex location. */
  readonly regex?: CompiledRegex;
  /** Redirect `/x` to this `/x/` (set by proxy_pass and its kin when the name ends with a slash). */
  readonly autoRedirect?: boolean;
  /** The locations inside it. */
  readonly nested?: LocationTree<L>;
}

interface PrefixNode<L> {
  /** The part of the name below the parent's. */
  readonly name: string;
  readonly left: PrefixNode<L> | undefined;
  readonly right: PrefixNode<L> | undefined;
  /** The longer names that begin with this one. */
  readonly below: PrefixNode<L> | undefined;
  readonly exact: LocationEntry<L> | undefined;
  readonly inclusive: LocationEntry<L> | undefined;
  readonly autoRedirect: boolean;
}

export interface LocationTree<L> {
  /** The one prefix location of a tree with nothing else, such as a lone `/`: no search is needed. */
  readonly only: LocationEntry<L> | undefined;
  readonly prefixes: PrefixNode<L> | undefined;
  readonly regexes: readonly LocationEntry<L>[];
  readonly named: ReadonlyMap<string, L>;
}

/** The outcome of a search; one object is reused for all searches of a worker. */
export interface LocationSearch<L> {
  /** The location found, or undefined: the server's own settings are in force. */
  location: L | undefined;
  /** The name to redirect to (`/x/` for a request of `/x`), or undefined. */
  redirect: string | undefined;
  /** Strings of the last matching regex, `[0]` the whole match; left alone when none matched. */
  captures: string[];
  /** The regex that matched last in this search, or undefined. */
  regex: CompiledRegex | undefined;
  /**
   * Called for each regex that matched, outer before nested, while `captures` holds its strings: the place to set the
   * variables of named groups.
   */
  matched?: ((regex: CompiledRegex, captures: readonly string[]) => void) | undefined;
}

export function newLocationSearch<L>(): LocationSearch<L> {
  return { location: undefined, redirect: undefined, captures: [], regex: undefined, matched: undefined };
}

/** Two locations of one kind with one name; `second` is the one written later. */
export interface DuplicateLocation<L> {
  readonly error: string;
  readonly second: LocationEntry<L>;
}

/**
 * Builds the tree of one level (a server's locations, or those inside one location), given in the order written.
 * A duplicate is returned as nginx's sentence `duplicate location "/x"`, without the place.
 */
export function buildLocationTree<L>(entries: readonly LocationEntry<L>[]): LocationTree<L> | DuplicateLocation<L> {
  const regexes: LocationEntry<L>[] = [];
  const named = new Map<string, LocationEntry<L>>();
  const statics = new Map<string, StaticName<L>>();
  for (const entry of entries) {
    if (entry.kind === "regex") {
      regexes.push(entry);
      continue;
    }
    if (entry.kind === "named") {
      // nginx lets a second `@x` stand and never reaches it.
      if (!named.has(entry.name)) named.set(entry.name, entry);
      continue;
    }
    const at = statics.get(entry.name) ?? { name: entry.name, exact: undefined, inclusive: undefined };
    if (entry.kind === "exact") {
      if (at.exact !== undefined) return duplicate(entry);
      at.exact = entry;
    } else {
      if (at.inclusive !== undefined) return duplicate(entry);
      at.inclusive = entry;
    }
    statics.set(entry.name, at);
  }
  const sorted = [...statics.values()].sort((a, b) => compareNames(a.name, b.name));
  const first = sorted.at(0);
  const lone = sorted.length === 1 && first?.exact === undefined && regexes.length === 0 ? first?.inclusive : undefined;
  return {
    only: lone !== undefined && lone.nested === undefined && lone.autoRedirect !== true ? lone : undefined,
    prefixes: prefixTree(nest(sorted), 0),
    regexes,
    named: new Map([...named].map(([name, entry]) => [name, entry.location])),
  };
}

interface StaticName<L> {
  readonly name: string;
  exact: LocationEntry<L> | undefined;
  inclusive: LocationEntry<L> | undefined;
}

interface NestedName<L> extends StaticName<L> {
  readonly longer: NestedName<L>[];
}

/** "/" sorts before every other character, so that `/x/` is met first on the way left of anything beginning with `/x`. */
function compareNames(a: string, b: string): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

function rank(code: number): number {
  return code === 0x2f ? 0 : code;
}

function duplicate<L>(second: LocationEntry<L>): DuplicateLocation<L> {
  return { error: `duplicate location "${second.name}"`, second };
}

/** Hangs each name under the longest prefix location it begins with. The names come sorted. */
function nest<L>(sorted: readonly StaticName<L>[]): NestedName<L>[] {
  const top: NestedName<L>[] = [];
  const open: NestedName<L>[] = [];
  for (const entry of sorted) {
    const made: NestedName<L> = { ...entry, longer: [] };
    let parent = open.at(-1);
    while (parent !== undefined && !entry.name.startsWith(parent.name)) {
      open.pop();
      parent = open.at(-1);
    }
    (parent?.longer ?? top).push(made);
    // An exact name takes no longer ones below it: they stay its siblings.
    if (entry.inclusive !== undefined) open.push(made);
  }
  return top;
}

function prefixTree<L>(names: readonly NestedName<L>[], prefix: number): PrefixNode<L> | undefined {
  if (names.length === 0) return undefined;
  const middle = names.length >> 1;
  const at = names[middle];
  return {
    name: at.name.slice(prefix),
    left: prefixTree(names.slice(0, middle), prefix),
    right: prefixTree(names.slice(middle + 1), prefix),
    below: prefixTree(at.longer, at.name.length),
    exact: at.exact,
    inclusive: at.inclusive,
    autoRedirect: at.exact?.autoRedirect === true || at.inclusive?.autoRedirect === true,
  };
}

/**
 * Finds the location of a URI (normalized, a byte string). Fills `search`; `search.location` stays undefined when
 * nothing matches. Throws what a regex throws when it gives up (RegexMatchError): the answer is then 500.
 */
export function findLocation<L>(tree: LocationTree<L>, uri: string, search: LocationSearch<L>): void {
  search.location = undefined;
  search.redirect = undefined;
  search.regex = undefined;
  const only = tree.only;
  if (only !== undefined) {
    if (uri.startsWith(only.name)) search.location = only.location;
    return;
  }
  find(tree, uri, search);
}

type Verdict = "found" | "redirect" | "inclusive" | "none";

function find<L>(tree: LocationTree<L>, uri: string, search: LocationSearch<L>): Verdict {
  let verdict: Verdict = "none";
  let noRegex = false;
  const entry = findPrefix(tree.prefixes, uri);
  if (entry !== undefined) {
    search.location = entry.location;
    if (prefixVerdict === "found") return "found";
    if (prefixVerdict === "redirect") {
      search.redirect = entry.name;
      return "redirect";
    }
    noRegex = entry.noRegex;
    // nginx takes the nested level's verdict for its own, so a miss there is not a miss of this prefix.
    verdict = entry.nested === undefined ? "inclusive" : find(entry.nested, uri, search);
    if (verdict === "found" || verdict === "redirect") return verdict;
  }
  if (noRegex) return verdict;
  const regexes = tree.regexes;
  for (let i = 0; i < regexes.length; i++) {
    const candidate = regexes[i];
    if (candidate.regex?.exec(uri, search.captures) !== true) continue;
    search.location = candidate.location;
    search.regex = candidate.regex;
    search.matched?.(candidate.regex, search.captures);
    if (candidate.nested !== undefined) {
      find(candidate.nested, uri, search);
      // As in nginx, a slash redirect found inside a regex location is not made: the location serves instead.
      search.redirect = undefined;
    }
    return "found";
  }
  return verdict;
}

/** The kind of the entry findPrefix returned last; a variable rather than a pair, so that a search allocates nothing. */
let prefixVerdict: Verdict = "none";

function findPrefix<L>(root: PrefixNode<L> | undefined, uri: string): LocationEntry<L> | undefined {
  let node = root;
  let best: LocationEntry<L> | undefined;
  let from = 0;
  prefixVerdict = "none";
  while (node !== undefined) {
    const name = node.name;
    const left = uri.length - from;
    const shared = left < name.length ? left : name.length;
    let i = 0;
    while (i < shared && uri.charCodeAt(from + i) === name.charCodeAt(i)) i++;
    if (i < shared) {
      node = rank(uri.charCodeAt(from + i)) < rank(name.charCodeAt(i)) ? node.left : node.right;
    } else if (left > name.length) {
      if (node.inclusive === undefined) {
        node = node.right;
        continue;
      }
      best = node.inclusive;
      prefixVerdict = "inclusive";
      node = node.below;
      from += name.length;
    } else if (left === name.length) {
      prefixVerdict = node.exact === undefined ? "inclusive" : "found";
      return node.exact ?? node.inclusive;
    } else {
      if (left + 1 === name.length && node.autoRedirect) {
        best = node.exact ?? node.inclusive;
        prefixVerdict = "redirect";
      }
      node = node.left;
    }
  }
  return best;
}
