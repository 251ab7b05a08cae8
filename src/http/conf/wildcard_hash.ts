import { lowercase } from "../../wire/latin1.ts";

/**
 * nginx's hash of host names with wildcards, used by `server_name`, `map … { hostnames; }`, `valid_referers` and
 * `ssl_certificate` names. Exact names first, then the longest `*.example.com` (`.example.com` stands for this and the
 * bare name), then the longest `mail.*`.
 */
export interface WildcardHash<V> {
  readonly exact: Map<string, V>;
  /** By the name without `*.` or `.`; `bare`: the name itself matches too. */
  readonly heads: Map<string, { readonly value: V; readonly bare: boolean }>;
  /** By the name without `.*`. */
  readonly tails: Map<string, V>;
  /** Names taken by exact and `.name` keys, to find conflicts. */
  readonly taken: Set<string>;
}

export function newWildcardHash<V>(): WildcardHash<V> {
  return { exact: new Map(), heads: new Map(), tails: new Map(), taken: new Set() };
}

/**
 * Adds a name or wildcard (any case). "conflict": an equivalent one is there, and this one is ignored. "invalid": a
 * wildcard that nginx does not support, or an empty label.
 */
export function addWildcardKey<V>(hash: WildcardHash<V>, key: string, value: V): "added" | "conflict" | "invalid" {
  const name = lowercase(key);
  const stars = name.split("*").length - 1;
  if (stars > 1 || name.includes("..") || name.includes("\0")) return "invalid";
  if (name.length > 1 && name.startsWith(".")) {
    const bare = name.slice(1);
    if (hash.taken.has(bare)) return "conflict";
    hash.taken.add(bare);
    return addOnce(hash.heads, bare, { value, bare: true });
  }
  if (name.length > 2 && name.startsWith("*.")) return addOnce(hash.heads, name.slice(2), { value, bare: false });
  if (name.length > 2 && name.endsWith(".*")) return addOnce(hash.tails, name.slice(0, -2), value);
  if (stars > 0) return "invalid";
  return addExactKey(hash, name, value) ? "added" : "conflict";
}

/** Adds a name in which `*` and `.` have no meaning. False if it is there already. */
export function addExactKey<V>(hash: WildcardHash<V>, key: string, value: V): boolean {
  const name = lowercase(key);
  if (hash.taken.has(name)) return false;
  hash.taken.add(name);
  hash.exact.set(name, value);
  return true;
}

function addOnce<V>(map: Map<string, V>, key: string, value: V): "added" | "conflict" {
  if (map.has(key)) return "conflict";
  map.set(key, value);
  return "added";
}

/** Finds a name given in lower case, without a trailing dot. */
export function findWildcard<V>(hash: WildcardHash<V>, name: string): V | undefined {
  const exact = hash.exact.get(name);
  if (exact !== undefined || name.length === 0) return exact;
  if (hash.heads.size > 0) {
    const whole = hash.heads.get(name);
    if (whole?.bare === true) return whole.value;
    for (let dot = name.indexOf("."); dot !== -1; dot = name.indexOf(".", dot + 1)) {
      const head = hash.heads.get(name.slice(dot + 1));
      if (head !== undefined) return head.value;
    }
  }
  if (hash.tails.size > 0) {
    for (let dot = name.lastIndexOf("."); dot > 0; dot = name.lastIndexOf(".", dot - 1)) {
      const tail = hash.tails.get(name.slice(0, dot));
      if (tail !== undefined) return tail;
    }
  }
  return undefined;
}
