import { HOST_NOT_FOUND, resolutionText } from "../net/name_servers.ts";
import type { Lookup, Resolution, Resolver } from "../net/resolver.ts";
import type { CheckerService } from "../runtime/application.ts";
import type { ErrorLog } from "../runtime/log/log.ts";
import { clearDeadline, Deadline, setDeadline } from "../sys/timers.ts";
import { resolvedName } from "./definition.ts";
import type { Group } from "./group.ts";
import type { ResolvedServer } from "./resolved.ts";

/** A group whose servers' names are resolved while serving, and what with. */
export interface ResolvingGroup {
  readonly group: Group;
  readonly resolver: Resolver;
  /** resolver_timeout, ms. */
  readonly timeout: number;
}

/** Names asked about at a time: name servers are not flooded when many are due at once, or none is answered. */
const MOST_ASKED = 64;
/** The least time between two questions about a name, ms, as in nginx: some answers are not to be kept at all. */
const LEAST_WAIT = 1000;
/** A name that is not answered is asked about less and less often, down to this, ms, or resolver_timeout if that is longer. */
const LONGEST_PAUSE = 30_000;
/** Waits are longer by up to this much of themselves, so that names that were once due together are not for ever. */
const JITTER = 0.1;

/** A name, asked about again and again for all groups that have it. */
class Name {
  readonly host: string;
  readonly key: string;
  /** When it is asked about next. */
  readonly due: Deadline<Name>;
  resolver: Resolver;
  timeout: number;
  groups: Group[] = [];
  /** Undefined until there was an answer. */
  servers: readonly ResolvedServer[] | undefined = undefined;
  /** Failures in a row. */
  failures = 0;
  lookup: Lookup | undefined = undefined;

  constructor(host: string, key: string, { resolver, timeout }: ResolvingGroup, due: (name: Name) => void) {
    this.host = host;
    this.key = key;
    this.due = new Deadline<Name>(this, due);
    this.resolver = resolver;
    this.timeout = timeout;
  }
}

/**
 * Resolves the names of `server … resolve` in the checker, and has groups learn what they stand for. One name is one question,
 * however many groups have it. A name that cannot be resolved keeps its addresses, unless there is no such name any more.
 */
export class NameService implements CheckerService {
  #log: ErrorLog;
  #names = new Map<string, Name>();
  /** Those due that have to wait until others are answered. */
  readonly #waiting = new Set<Name>();
  #asked = 0;

  constructor(log: ErrorLog) {
    this.#log = log;
  }

  /** The groups from now on. What is known of their names holds on: no question is asked before its time. */
  update(groups: readonly ResolvingGroup[], log: ErrorLog): void {
    const before = this.#names;
    this.#log = log;
    this.#names = new Map();
    for (const name of before.values()) name.groups = [];
    for (const each of groups) this.#add(each, before);
    for (const [identity, name] of before) if (!this.#names.has(identity)) this.#drop(name);
    for (const name of this.#names.values()) {
      if (name.servers !== undefined) this.#tell(name, name.servers);
      if (!name.due.armed && name.lookup === undefined) this.#waiting.add(name);
    }
    this.#askNext();
  }

  stop(): void {
    for (const name of this.#names.values()) this.#drop(name);
    this.#names.clear();
  }

  #add(each: ResolvingGroup, before: ReadonlyMap<string, Name>): void {
    const { group, resolver, timeout } = each;
    for (const server of group.definition.servers) {
      const key = resolvedName(server);
      if (key === undefined || !("host" in server.target)) continue;
      const identity = `${resolver.identity} ${key}`;
      const known = this.#names.get(identity) ?? before.get(identity);
      const name = known ?? new Name(server.target.host, key, each, (due) => this.#ask(due));
      name.resolver = resolver;
      name.timeout = timeout;
      if (!name.groups.includes(group)) name.groups.push(group);
      this.#names.set(identity, name);
    }
  }

  #drop(name: Name): void {
    clearDeadline(name.due);
    this.#waiting.delete(name);
    if (name.lookup === undefined) return;
    name.lookup.cancel();
    this.#answered(name);
  }

  #answered(name: Name): void {
    name.lookup = undefined;
    this.#asked--;
  }

  #ask(name: Name): void {
    this.#waiting.add(name);
    this.#askNext();
  }

  #askNext(): void {
    for (const name of this.#waiting) {
      if (this.#asked >= MOST_ASKED) return;
      this.#waiting.delete(name);
      this.#asked++;
      let over = false;
      const lookup = name.resolver.resolve(name.host, name.timeout, (result) => {
        over = true;
        this.#answered(name);
        this.#resolved(name, result);
        this.#askNext();
      });
      // It may have been answered at once.
      if (!over) name.lookup = lookup;
    }
  }

  #resolved(name: Name, result: Resolution): void {
    if ("state" in result) {
      const { state } = result;
      this.#log.write("error", `${name.host} could not be resolved (${state}: ${resolutionText(state)})`);
      if (state !== HOST_NOT_FOUND) {
        const least = Math.max(name.timeout, LEAST_WAIT);
        const longest = Math.max(least, LONGEST_PAUSE);
        this.#wait(name, Math.min(least * 2 ** name.failures++, longest));
        return;
      }
      this.#learn(name, [], name.resolver.negative);
      return;
    }
    const servers = result.addresses.flatMap((address) =>
      address.family === "unix" ? [] : [{ address, service: undefined }],
    );
    this.#learn(name, servers, result.expires - performance.now());
  }

  #learn(name: Name, servers: readonly ResolvedServer[], lifetime: number): void {
    name.failures = 0;
    name.servers = servers.toSorted((one, other) => compare(textOf(one), textOf(other)));
    this.#tell(name, name.servers);
    this.#wait(name, lifetime);
  }

  #wait(name: Name, ms: number): void {
    const most = Math.max(ms, LEAST_WAIT);
    setDeadline(name.due, most + Math.random() * JITTER * most);
  }

  #tell(name: Name, servers: readonly ResolvedServer[]): void {
    for (const group of name.groups) {
      const known = group.names.get(name.key);
      if (known !== undefined && sameServers(known, servers)) continue;
      if (group.learn(new Map([...group.names, [name.key, servers]]))) continue;
      this.#log.write("error", `cannot add new server to upstream "${group.name}", memory exhausted`);
    }
  }
}

/** All of a server; in this order they are kept, so that it does not matter in which one an answer has them. */
function textOf({ address, service }: ResolvedServer): string {
  return `${address.family} ${address.host} ${address.port} ${JSON.stringify(service)}`;
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

function sameServers(one: readonly ResolvedServer[], other: readonly ResolvedServer[]): boolean {
  return one.length === other.length && one.every((server, i) => textOf(server) === textOf(other[i]));
}
