import type { CompiledRegex } from "../../regex/regex.ts";
import type { LocationName } from "./location_name.ts";

/**
 * Finds a location by URI as ngx_http_core_find_location does. Prefixes are in a sorted tree in which each part of the
 * URI is compared once; regular expressions are tried in the order of the configuration.
 */

/** A location of the tree. `L` is whatever the caller keeps for it. */
export interface LocationEntry<L> extends LocationName {
  readonly location: L;
  /** For a regex location. */
  readonly regex?: CompiledRegex;
  /** Redirects `/x` to this `/x/` (with proxy_pass or the like); asked only where the name ends with a slash. */
  readonly autoRedirect?: boolean;
  /** The locations inside it. */
  readonly nested?: LocationTree<L>;
}

interface PrefixNode<L> {
  /** The part of the name behind that of the parent. */
  readonly name: string;
  readonly left: PrefixNode<L> | undefined;
  readonly right: PrefixNode<L> | undefined;
  /** Longer names that begin with this one. */
  readonly below: PrefixNode<L> | undefined;
  readonly exact: LocationEntry<L> | undefined;
  readonly inclusive: LocationEntry<L> | undefined;
}

export interface LocationTree<L> {
  /** Set if the tree consists of one prefix location, such as a lone `/`: no search is needed. */
  readonly only: LocationEntry<L> | undefined;
  readonly prefixes: PrefixNode<L> | undefined;
  readonly regexes: readonly LocationEntry<L>[];
  readonly named: ReadonlyMap<string, LocationEntry<L>>;
}

/** The result of a search; a worker reuses one object for all searches. */
export interface LocationSearch<L> {
  /** The location, or undefined if the server's own settings are in force. */
  location: L | undefined;
  /** The name to redirect to (`/x/` for a request of `/x`), or undefined. */
  redirect: string | undefined;
  /** Captures of the last regex that matched, `[0]` the whole match; unchanged if none matched. */
  captures: string[];
  /** The regex that matched last in this search, or undefined. */
  regex: CompiledRegex | undefined;
  /** Called for each regex that matched, outer before nested, with its strings: sets the variables of named groups. */
  matched?: ((regex: CompiledRegex, captures: readonly string[]) => void) | undefined;
}

export function newLocationSearch<L>(): LocationSearch<L> {
  return { location: undefined, redirect: undefined, captures: [], regex: undefined, matched: undefined };
}

/** A location whose kind and name were used before; `second` is the later one. */
export interface DuplicateLocation<L> {
  readonly error: string;
  readonly second: LocationEntry<L>;
}

/**
 * Builds the tree of one level (a server's locations, or those inside a location), given in the order of the
 * configuration. A duplicate is returned as nginx's sentence `duplicate location "/x"`, without file and line.
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
      // nginx accepts a second `@x` and never uses it.
      if (!named.has(entry.name)) named.set(entry.name, entry);
      continue;
    }
    let at = statics.get(entry.name);
    if (at === undefined) {
      at = { name: entry.name, exact: undefined, inclusive: undefined, longer: NO_NAMES };
      statics.set(entry.name, at);
    }
    if (entry.kind === "exact") {
      if (at.exact !== undefined) return duplicate(entry);
      at.exact = entry;
    } else {
      if (at.inclusive !== undefined) return duplicate(entry);
      at.inclusive = entry;
    }
  }
  const sorted = [...statics.values()].sort((a, b) => compareNames(a.name, b.name));
  const first = sorted.at(0);
  const lone = sorted.length === 1 && first?.exact === undefined && regexes.length === 0 ? first?.inclusive : undefined;
  return {
    only: lone !== undefined && lone.nested === undefined && !isDirectory(lone) ? lone : undefined,
    prefixes: prefixesOf(nest(sorted), 0),
    regexes,
    named,
  };
}

/** Whether it may have `/x` redirected to its `/x/`: "/" itself is whatever no other location is. */
function isDirectory({ name }: { readonly name: string }): boolean {
  return name.length > 1 && name.endsWith("/");
}

/** To be asked by requests: it may have the location built, which is too early while others are still read. */
function redirects<L>(entry: LocationEntry<L> | undefined): boolean {
  return entry !== undefined && isDirectory(entry) && entry.autoRedirect === true;
}

interface StaticName<L> {
  readonly name: string;
  exact: LocationEntry<L> | undefined;
  inclusive: LocationEntry<L> | undefined;
  /** Names below it, sorted. */
  longer: readonly StaticName<L>[];
}

const NO_NAMES: readonly never[] = [];

/** "/" sorts before every other character, so that `/x/` comes before all other names that begin with `/x`. */
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

/** Puts each name below the longest prefix location it begins with, and returns those below none. The names are sorted. */
function nest<L>(sorted: readonly StaticName<L>[]): StaticName<L>[] {
  const top: StaticName<L>[] = [];
  const open: { readonly at: StaticName<L>; readonly longer: StaticName<L>[] }[] = [];
  for (const entry of sorted) {
    let parent = open.at(-1);
    while (parent !== undefined && !entry.name.startsWith(parent.at.name)) {
      open.pop();
      parent = open.at(-1);
    }
    if (parent === undefined) top.push(entry);
    else if (parent.longer.push(entry) === 1) parent.at.longer = parent.longer;
    // No names go below an exact one: longer names stay its siblings.
    if (entry.inclusive !== undefined) open.push({ at: entry, longer: [] });
  }
  return top;
}

function prefixesOf<L>(names: readonly StaticName<L>[], prefix: number): PrefixNode<L> | undefined {
  return prefixTree(names, 0, names.length, prefix);
}

/** Of the names from `first` to `end`. */
function prefixTree<L>(
  names: readonly StaticName<L>[],
  first: number,
  end: number,
  prefix: number,
): PrefixNode<L> | undefined {
  if (first >= end) return undefined;
  const middle = (first + end) >> 1;
  const at = names[middle];
  return {
    name: at.name.slice(prefix),
    left: prefixTree(names, first, middle, prefix),
    right: prefixTree(names, middle + 1, end, prefix),
    below: prefixesOf(at.longer, at.name.length),
    exact: at.exact,
    inclusive: at.inclusive,
  };
}

/**
 * Finds the location of a URI (normalized, a byte string). Fills `search`; `search.location` stays undefined if nothing
 * matches. Throws RegexMatchError if a regex gives up: the answer is then 500.
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
    // As in nginx the nested level's result counts: a miss there is not one of this prefix.
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
      // As in nginx there is no slash redirect out of a regex location: the location itself serves the request.
      search.redirect = undefined;
    }
    return "found";
  }
  return verdict;
}

/** What kind of match findPrefix found last. Not part of its result, so that a search allocates nothing. */
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
      if (left + 1 === name.length && (redirects(node.exact) || redirects(node.inclusive))) {
        best = node.exact ?? node.inclusive;
        prefixVerdict = "redirect";
      }
      node = node.left;
    }
  }
  return best;
}
