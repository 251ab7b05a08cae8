import { observersOf, serverHash } from "../../src/cluster/observers.ts";
import type { Far } from "./link.ts";
import { AnsweringNode, type Report, type Simulated, type Surroundings, WholeNode } from "./nodes.ts";
import { nodeName, SERVER, serverName, UPSTREAM } from "./plans.ts";
import { World } from "./world.ts";

export interface GroupOptions {
  readonly nodes: number;
  /** How many of them are simulated with all they do. */
  readonly whole: number;
  readonly servers: number;
  readonly observers: number;
  /** The part of messages that is lost. */
  readonly loss: number;
  /** Of the checks of nodes, ms. */
  readonly interval: number;
  /** How many servers die, one after another. */
  readonly deaths: number;
  readonly seed: number;
}

export interface Outcome {
  readonly seconds: number;
  /** Requests to other nodes that were answered, by all whole nodes; each node is asked as often. */
  readonly asked: number;
  readonly bytes: number;
  /** Checks of servers by one node, on average. */
  readonly checks: number;
  /** How long servers were dead when a node stopped using them, ms. */
  readonly verdicts: readonly number[];
  /** Servers that lived and were found down by a node's own checks, or decided to be down; nodes that were. */
  readonly own: number;
  readonly decided: number;
  readonly nodesDown: number;
}

/** A server that is dead is so for that long, ms; before the first dies and nodes are counted they have this to find one another. */
const DEAD_MS = 10_000;
const SETTLE_MS = 20_000;

/** The whole group. */
export class Group implements Surroundings {
  readonly world: World;
  readonly nodes: number;
  readonly interval: number;
  readonly #options: GroupOptions;
  readonly #nodes: Simulated[] = [];
  readonly #deadSince = new Map<number, number>();
  readonly #counts = { asked: 0, bytes: 0, own: 0, decided: 0, nodesDown: 0, checks: 0 };
  readonly #verdicts: number[] = [];
  #counting = false;

  constructor(options: GroupOptions) {
    const { nodes, servers, observers, whole } = options;
    this.#options = options;
    this.world = new World(options.seed, options.loss);
    this.nodes = nodes;
    this.interval = options.interval;
    const names = Array.from({ length: nodes }, (_, i) => nodeName(i));
    const numbers = Array.from({ length: servers }, (_, i) => i);
    const shares = new Map(names.map((name) => [name, [] as number[]]));
    for (const number of numbers) {
      const hash = serverHash(UPSTREAM, serverName(number));
      for (const name of observersOf(names, hash, observers)) shares.get(name)?.push(number);
    }
    for (const [i, name] of names.entries()) {
      const share = shares.get(name) ?? [];
      if (i < whole) this.#nodes.push(new WholeNode(this, i, { servers: numbers, observers, report: this.#report() }));
      else this.#nodes.push(new AnsweringNode(this, i, share, share.length));
    }
  }

  far(kind: string, number: number): Far {
    const accepts = kind === SERVER ? () => this.#reached(number) : () => true;
    return { accepts, asked: (reply) => reply() };
  }

  #reached(server: number): boolean {
    if (this.#counting) this.#counts.checks++;
    return !this.#deadSince.has(server);
  }

  node(number: number): Simulated {
    return this.#nodes[number];
  }

  #report(): Report {
    /** Servers that this node does not use. */
    const down = new Set<number>();
    const numberOf = numberIn(this.#options.servers);
    return {
      found: ({ up, check }) => {
        if (!up && this.#counting && !this.#deadSince.has(check.target.family === "unix" ? -1 : check.target.port)) {
          this.#counts.own++;
        }
      },
      decided: ({ server, up }) => {
        const number = numberOf(server);
        if (up || down.has(number)) {
          if (up) down.delete(number);
          return;
        }
        down.add(number);
        if (!this.#counting) return;
        const since = this.#deadSince.get(number);
        if (since === undefined) this.#counts.decided++;
        else this.#verdicts.push(this.world.now() - since);
      },
      nodeFound: ({ up }) => {
        if (!up && this.#counting) this.#counts.nodesDown++;
      },
      exchanged: (bytes) => {
        if (!this.#counting) return;
        this.#counts.asked++;
        this.#counts.bytes += bytes;
      },
    };
  }

  run(ms: number): Outcome {
    const { world } = this;
    const { deaths, servers, nodes } = this.#options;
    world.run(SETTLE_MS);
    this.#counting = true;
    for (let i = 0; i < deaths; i++) {
      // Another server each time, at any moment from which on its end is still seen.
      const server = (i * 7919) % servers;
      world.after(world.random() * (ms - 2 * DEAD_MS), () => this.#die(server));
    }
    world.run(SETTLE_MS + ms);
    const { checks, ...counts } = this.#counts;
    return { seconds: ms / 1000, ...counts, checks: checks / nodes, verdicts: this.#verdicts };
  }

  #die(server: number): void {
    this.#deadSince.set(server, this.world.now());
    this.world.after(DEAD_MS, () => this.#deadSince.delete(server));
  }
}

function numberIn(servers: number): (name: string) => number {
  const numbers = new Map(Array.from({ length: servers }, (_, i) => [serverName(i), i]));
  return (name) => numbers.get(name) ?? -1;
}
