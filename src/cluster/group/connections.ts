import type { Refusals } from "./refusals.ts";

/** Connections that have not sent a message of the group yet; the oldest make room for new ones. */
const MOST_STRANGERS = 256;
/** So many connections a second may begin from addresses that are no node's: to agree on TLS costs a signature. */
const STRANGERS_RATE = 100;
/** Connections of one node. It needs one, and another while it reloads. */
const MOST_OF_A_NODE = 8;
/** Answers to one node in a second, however seldom nodes check one another, and how many times its checks may come. */
const LEAST_RATE = 50;
const RATE_OF_CHECKS = 4;
/** So many bytes of an answer are worth another one. */
const BYTES_OF_AN_ANSWER = 64 * 1024;

interface Guest {
  destroy(): void;
  /** It is answered once more, and closed. */
  leave(): void;
}

/**
 * How much a node may ask: each answer has its price, and what it may spend grows with time. Making an answer costs a signature, and
 * where much has changed a text of all that.
 */
class Allowance {
  readonly #perSecond: number;
  readonly #most: number;
  #left: number;
  #at = 0;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#most = 2 * perSecond;
    this.#left = this.#most;
  }

  /** `now`: monotonic ms. */
  hasAny(now: number): boolean {
    this.#left = Math.min(this.#most, this.#left + ((now - this.#at) / 1000) * this.#perSecond);
    this.#at = now;
    return this.#left >= 1;
  }

  spend(bytes: number): void {
    this.#left -= 1 + bytes / BYTES_OF_AN_ANSWER;
  }
}

interface Known {
  readonly connections: Set<Guest>;
  readonly allowance: Allowance;
}

/** The connections on which this node is asked, in bounds: whoever has no secret can take none from those who have it. */
export class Connections {
  readonly #strangers = new Set<Guest>();
  readonly #nodes = new Map<string, Known>();
  readonly #rate: number;
  readonly #refusals: Refusals;
  readonly #hosts: ReadonlySet<string>;
  readonly #strangersRate = new Allowance(STRANGERS_RATE);
  #left = false;

  /** `interval`: of the checks of nodes, ms; `hosts`: where nodes are. */
  constructor(interval: number, refusals: Refusals, hosts: readonly string[] = []) {
    this.#hosts = new Set(hosts);
    this.#rate = Math.max(LEAST_RATE, (RATE_OF_CHECKS * 1000) / interval);
    this.#refusals = refusals;
  }

  /** Whether a connection from there may begin: those of nodes always, others as far as there are not too many. */
  admits(host: string, now: number): boolean {
    if (this.#hosts.has(host)) return true;
    if (!this.#strangersRate.hasAny(now)) {
      this.#refusals.count("flood");
      return false;
    }
    this.#strangersRate.spend(0);
    return true;
  }

  accept(guest: Guest): void {
    this.#strangers.add(guest);
    this.#bound(this.#strangers, MOST_STRANGERS);
    if (this.#left) guest.leave();
  }

  /** A node of the configuration has asked there. */
  identified(guest: Guest, node: string): void {
    const { connections } = this.#known(node);
    if (connections.has(guest)) return;
    this.#strangers.delete(guest);
    connections.add(guest);
    this.#bound(connections, MOST_OF_A_NODE);
  }

  /** Whether a node may be answered now. */
  mayAsk(node: string, now: number): boolean {
    return this.#known(node).allowance.hasAny(now);
  }

  answered(node: string, bytes: number): void {
    this.#known(node).allowance.spend(bytes);
  }

  closed(guest: Guest): void {
    this.#strangers.delete(guest);
    for (const { connections } of this.#nodes.values()) connections.delete(guest);
  }

  /** A newer configuration is asked from now on. Nodes that have been asking come again; others may be about to ask their first question. */
  leave(): void {
    this.#left = true;
    for (const { connections } of this.#nodes.values()) for (const guest of connections) guest.destroy();
    for (const guest of this.#strangers) guest.leave();
  }

  stop(): void {
    for (const guest of this.#strangers) guest.destroy();
    for (const { connections } of this.#nodes.values()) for (const guest of connections) guest.destroy();
  }

  #known(node: string): Known {
    let known = this.#nodes.get(node);
    if (known === undefined) {
      known = { connections: new Set(), allowance: new Allowance(this.#rate) };
      this.#nodes.set(node, known);
    }
    return known;
  }

  #bound(guests: Set<Guest>, most: number): void {
    if (guests.size <= most) return;
    const [oldest] = guests;
    guests.delete(oldest);
    this.#refusals.count("flood");
    oldest.destroy();
  }
}
