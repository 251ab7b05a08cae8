/**
 * Who checks what: rendezvous hashing. Each node has a score for each server, and those with the highest are its observers, so
 * that a node that comes or goes moves its own share only. All nodes must come to the same scores, whatever their versions are.
 */

/** 32 bits that look random; the same everywhere. (FNV-1a, and the last steps of MurmurHash3.) */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return mixed(hash);
}

export function serverHash(upstream: string, server: string): number {
  return hashOf(`${upstream}\0${server}`);
}

/** The score of a node for a server, of their hashes. */
function scoreOf(node: number, server: number): number {
  return mixed(Math.imul(node, 0x9e3779b1) ^ server);
}

function mixed(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

interface Rival {
  readonly name: string;
  readonly hash: number;
}

/** Which of the live nodes have a higher score for a server than this one has: only their number is kept. */
export class Observers {
  readonly #self: Rival;
  readonly #live = new Map<string, Rival>();

  constructor(self: string) {
    this.#self = { name: self, hash: hashOf(self) };
  }

  /** Returns false where that is known; else `ahead` of all servers changes by what `isAhead` says. */
  set(node: string, live: boolean): boolean {
    if (this.#live.has(node) === live) return false;
    if (live) this.#live.set(node, { name: node, hash: hashOf(node) });
    else this.#live.delete(node);
    return true;
  }

  /** Tells whether that node comes before this one as an observer of a server. */
  rival(node: string): (server: number) => boolean {
    const rival = { name: node, hash: hashOf(node) };
    return (server) => this.#before(rival, server, scoreOf(this.#self.hash, server));
  }

  /** How many live nodes come before this one. */
  ahead(server: number): number {
    let ahead = 0;
    const own = scoreOf(this.#self.hash, server);
    for (const rival of this.#live.values()) if (this.#before(rival, server, own)) ahead++;
    return ahead;
  }

  #before({ name, hash }: Rival, server: number, own: number): boolean {
    const other = scoreOf(hash, server);
    return other > own || (other === own && name < this.#self.name);
  }
}

/** The observers of a server among nodes, as each of them comes to know it. */
export function observersOf(nodes: readonly string[], server: number, observers: number): string[] {
  const scored = nodes.map((name) => ({ name, score: scoreOf(hashOf(name), server) }));
  scored.sort((a, b) => b.score - a.score || (a.name < b.name ? -1 : 1));
  return scored.slice(0, observers).map(({ name }) => name);
}
