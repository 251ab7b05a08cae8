import { clearDeadline, Deadline, setDeadline } from "../sys/timers.ts";
import type { ServiceRecord } from "../wire/dns.ts";
import { type Address, withPort } from "./address.ts";
import { HOST_NOT_FOUND, isName, type ServiceAnswer, TIMED_OUT } from "./resolution.ts";
import { type Lookup, MOST_CNAMES, type Resolution, type Resolver } from "./resolver.ts";

/** What became of one SRV record: the addresses of its name, with its port. */
export interface ServicePlace {
  readonly record: ServiceRecord;
  /** Or the state, where the name could not be resolved. */
  readonly found: readonly Address[] | number;
}

/** `expires`: until when all of it holds, ms of the monotonic clock. */
export type ServiceResolution =
  | { readonly places: readonly ServicePlace[]; readonly expires: number }
  | { readonly state: number };

/** The name whose SRV records say where a service of a host is: `http` is short for `_http._tcp`, as in nginx. */
export function serviceName(service: string, host: string): string {
  const labels = service.includes(".") ? service : `_${service}._tcp`;
  return `${labels}.${host}`.toLowerCase().replace(/\.$/, "");
}

/** The most names of one service that are asked about at a time. */
const MOST_ASKED = 8;

/** Finds the SRV records of a service and the addresses of the names in them. `done` is called once unless it is canceled. */
export class ServiceLookup {
  readonly #resolver: Resolver;
  /** For the records, and for each of their names; ms. */
  readonly #timeout: number;
  readonly #done: (result: ServiceResolution) => void;
  readonly #deadline: Deadline<ServiceLookup>;
  /** Begun so far; undefined once it has been answered at once. */
  readonly #lookups: (Lookup | undefined)[] = [];
  #question: { cancel(): void } | undefined = undefined;
  #cnames = 0;
  #expires = Number.POSITIVE_INFINITY;

  constructor(resolver: Resolver, name: string, timeout: number, done: (result: ServiceResolution) => void) {
    this.#resolver = resolver;
    this.#timeout = timeout;
    this.#done = done;
    this.#deadline = new Deadline<ServiceLookup>(this, timedOut);
    if (timeout > 0) setDeadline(this.#deadline, timeout);
    this.#ask(name);
  }

  cancel(): void {
    clearDeadline(this.#deadline);
    this.#question?.cancel();
    for (const lookup of this.#lookups) lookup?.cancel();
  }

  timedOut(): void {
    this.#finish({ state: TIMED_OUT });
  }

  #ask(name: string): void {
    if (isName(name)) this.#question = this.#resolver.askService(name, (answer) => this.#answered(answer));
    else this.#finish({ state: HOST_NOT_FOUND });
  }

  #answered(answer: ServiceAnswer): void {
    this.#question = undefined;
    if ("state" in answer) {
      this.#finish(answer);
      return;
    }
    this.#expires = Math.min(this.#expires, this.#resolver.expiryOf(answer.ttl));
    const { cname, services } = answer;
    if (cname === undefined) this.#resolve(services);
    else if (this.#cnames++ < MOST_CNAMES) this.#ask(cname);
    else this.#finish({ state: HOST_NOT_FOUND });
  }

  /** The addresses of all names, each of which is asked for once. */
  #resolve(services: readonly ServiceRecord[]): void {
    clearDeadline(this.#deadline);
    const names = [...new Set(services.map(({ name }) => name))];
    const found = new Map<string, Resolution>();
    const next = (): void => {
      const name = names[this.#lookups.length];
      if (name === undefined) return;
      const at = this.#lookups.push(undefined) - 1;
      const lookup = this.#resolver.resolve(name, this.#timeout, resolved(name), true);
      if (!found.has(name)) this.#lookups[at] = lookup;
    };
    const resolved = (name: string) => (result: Resolution) => {
      found.set(name, result);
      if ("expires" in result) this.#expires = Math.min(this.#expires, result.expires);
      if (found.size === names.length) this.#settle(services, found);
      else next();
    };
    for (let i = 0; i < MOST_ASKED; i++) next();
  }

  #settle(services: readonly ServiceRecord[], found: ReadonlyMap<string, Resolution>): void {
    const places = services.map((record): ServicePlace => {
      const result = found.get(record.name) ?? { state: HOST_NOT_FOUND };
      if ("state" in result) return { record, found: result.state };
      return { record, found: result.addresses.map((address) => withPort(address, record.port)) };
    });
    this.#finish({ places, expires: this.#expires });
  }

  #finish(result: ServiceResolution): void {
    this.cancel();
    this.#done(result);
  }
}

function timedOut(lookup: ServiceLookup): void {
  lookup.timedOut();
}
