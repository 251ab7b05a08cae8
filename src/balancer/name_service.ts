import { HOST_NOT_FOUND, resolutionText } from "../net/resolution.ts";
import type { Resolution, Resolver } from "../net/resolver.ts";
import { ServiceLookup, type ServicePlace, type ServiceResolution, serviceName } from "../net/service_lookup.ts";
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
  /** `service=`; "": its addresses are wanted. */
  readonly service: string;
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
  lookup: { cancel(): void } | undefined = undefined;

  constructor(
    host: string,
    service: string,
    key: string,
    { resolver, timeout }: ResolvingGroup,
    due: (name: Name) => void,
  ) {
    this.host = host;
    this.service = service;
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
      const name = known ?? new Name(server.target.host, server.service, key, each, (due) => this.#ask(due));
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
      const answered = (handle: () => void): void => {
        over = true;
        this.#answered(name);
        handle();
        this.#askNext();
      };
      const { resolver, host, service, timeout } = name;
      const lookup =
        service === ""
          ? resolver.resolve(host, timeout, (result) => answered(() => this.#resolved(name, result)), true)
          : new ServiceLookup(resolver, serviceName(service, host), timeout, (result) =>
              answered(() => this.#located(name, result)),
            );
      // It may have been answered at once.
      if (!over) name.lookup = lookup;
    }
  }

  #resolved(name: Name, result: Resolution): void {
    if ("state" in result) {
      this.#error(`${name.host} could not be resolved`, result.state);
      this.#failed(name, result.state);
      return;
    }
    const servers = result.addresses.flatMap((address) =>
      address.family === "unix" ? [] : [{ address, service: undefined }],
    );
    this.#learn(name, servers, result.expires - performance.now());
  }

  #located(name: Name, result: ServiceResolution): void {
    const what = `service ${name.service} of ${name.host}`;
    if ("state" in result) {
      this.#error(`${what} could not be resolved`, result.state);
      this.#failed(name, result.state);
      return;
    }
    const failures = result.places.filter(({ found }) => typeof found === "number");
    for (const { record, found } of failures) {
      if (typeof found === "number")
        this.#error(`${record.name} could not be resolved`, found, ` while resolving ${what}`);
    }
    const servers = serversAt(result.places, name.servers ?? []);
    const states = failures.map(({ found }) => found);
    if (failures.length === result.places.length) {
      const state = states.includes(HOST_NOT_FOUND) ? HOST_NOT_FOUND : Number(states[0]);
      this.#error(`${what} could not be resolved`, state);
      this.#failed(name, state);
    } else {
      this.#learn(name, servers, result.expires - performance.now());
      // Those that failed are asked about again soon.
      if (states.some((state) => state !== HOST_NOT_FOUND)) this.#wait(name, pause(name));
    }
  }

  #error(what: string, state: number, more = ""): void {
    this.#log.write("error", `${what} (${state}: ${resolutionText(state)})${more}`);
  }

  /** What is known of it holds on, unless it is known that there is nothing. */
  #failed(name: Name, state: number): void {
    if (state === HOST_NOT_FOUND) this.#learn(name, [], name.resolver.negative);
    else this.#wait(name, pause(name));
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

/** How long to wait after a failure: longer after each, as RFC 9520 (section 3.1) has it. */
function pause(name: Name): number {
  const least = Math.max(name.timeout, LEAST_WAIT);
  return Math.min(least * 2 ** name.failures++, Math.max(least, LONGEST_PAUSE));
}

/** The servers of a service; where a name could not be resolved, those that it had before (`known`). */
function serversAt(places: readonly ServicePlace[], known: readonly ResolvedServer[]): ResolvedServer[] {
  const all = places.flatMap(({ record, found }) => {
    const { name, port } = record;
    const before = known.filter(({ address, service }) => service?.name === name && address.port === port);
    const kept = found === HOST_NOT_FOUND ? [] : before.map(({ address }) => address);
    return (typeof found === "number" ? kept : found).map((address) => ({ address, record }));
  });
  const first = Math.min(...all.map(({ record }) => record.priority));
  return all.flatMap(({ address, record: { name, weight, priority } }) =>
    address.family === "unix"
      ? []
      : [{ address, service: { name, weight: Math.max(1, weight), backup: priority !== first } }],
  );
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
