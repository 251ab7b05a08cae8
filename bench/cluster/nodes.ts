import { Member } from "../../src/cluster/group/member.ts";
import { type AnswerBody, encodeBody, type NodeFacts } from "../../src/cluster/group/messages.ts";
import { nodeKey, Opinions } from "../../src/cluster/group/opinions.ts";
import { type Looking, lookAtNode } from "../../src/cluster/look.ts";
import { Servers } from "../../src/cluster/servers.ts";
import type { Change } from "../../src/health/change.ts";
import { type BoundPlan, bindPlan } from "../../src/health/plan.ts";
import { PASS, type Probe } from "../../src/health/probe.ts";
import { type Checks, startChecks } from "../../src/health/scheduler.ts";
import type { Decision } from "../../src/health/sharing.ts";
import type { ErrorLog } from "../../src/runtime/log/log.ts";
import { connectIn, type Far } from "./link.ts";
import { bound, nodeName, planNodes, planServers } from "./plans.ts";
import type { World } from "./world.ts";

const QUIET: ErrorLog = { wants: () => false, write() {} };
const TICK_MS = 100;
const FACTS: NodeFacts = {
  state: "serving",
  version: "0.1.0",
  configuration: "0123456789ab",
  connections: 1000,
  requests: 1_000_000,
  refused: {},
};
/** What is around the body of a message, and around its segment: head and signature; Ethernet, IP and TCP. */
const AROUND = 52 + 32 + 66;
const REQUEST = encodeBody({
  cluster: "shop",
  from: "lb100",
  to: "lb200",
  run: "0123456789abcdef",
  known: 1000,
}).length;
const EMPTY = encodeBody(answerOf("lb100", { from: 1000, to: 1000, opinions: {} })).length;

function answerOf(from: string, changes: AnswerBody["changes"]): AnswerBody {
  return { cluster: "shop", from, facts: FACTS, changes };
}

/** What nodes of a simulation need of it. */
export interface Surroundings {
  readonly world: World;
  readonly interval: number;
  readonly nodes: number;
  far(kind: string, number: number): Far;
  /** The node that answers there. */
  node(number: number): Simulated;
}

export interface Simulated {
  readonly run: string;
  readonly opinions: Opinions;
}

/** A node that checks the servers that are its own and answers. */
export class AnsweringNode implements Simulated {
  readonly run: string;
  readonly opinions = new Opinions();
  readonly #surroundings: Surroundings;
  readonly #checks: Checks;
  readonly #plan: BoundPlan;
  #generation = 1;

  /** `share`: the servers that are its own; `room`: how many there may ever be. */
  constructor(surroundings: Surroundings, number: number, share: readonly number[], room: number) {
    const { world, nodes } = surroundings;
    this.run = `${number}`;
    this.#surroundings = surroundings;
    for (let i = 0; i < nodes; i++) {
      if (i !== number) this.opinions.set(nodeKey(nodeName(i)), { state: "up", since: world.wall(), reason: "" });
    }
    this.#plan = bound(planServers(share, undefined), world.wall(), 2 * room);
    this.#checks = startChecks(this.#plan, environmentOf(surroundings));
    const { opinions } = this;
    const servers = new Servers({ self: "", states: this.#plan.states, checks: undefined, opinions, say() {} });
    this.#checks.follow(servers);
    servers.planned(this.#plan);
  }

  /** Others are its own from now on. */
  take(share: readonly number[]): void {
    const { states } = this.#plan;
    const plan = bindPlan(planServers(share, undefined), states, ++this.#generation, this.#surroundings.world.wall());
    this.#checks.update(plan);
  }

  stop(): void {
    this.#checks.stop();
  }
}

function environmentOf(surroundings: Surroundings, onChange?: (change: Change) => void) {
  const { world } = surroundings;
  const connect = connectIn(world, (address) =>
    address.family === "unix" ? fail() : surroundings.far(address.host, address.port),
  );
  const environment = { log: QUIET, clock: world, connect, random: world.random };
  return onChange === undefined ? environment : { ...environment, onChange };
}

/** What a whole node is asked to report. */
export interface Report {
  /** A server is down, or up again, as far as this node's own checks tell. */
  found(change: Change): void;
  /** Balancing goes by this from now on. */
  decided(decision: Decision): void;
  nodeFound(change: Change): void;
  exchanged(bytes: number): void;
}

/** A node with all that it does but sockets. */
export class WholeNode implements Simulated {
  readonly run: string;
  readonly opinions = new Opinions();
  readonly #servers: Servers;

  constructor(
    surroundings: Surroundings,
    number: number,
    {
      servers,
      observers,
      report,
    }: { readonly servers: readonly number[]; readonly observers: number; readonly report: Report },
  ) {
    const { world, nodes, interval } = surroundings;
    this.run = `${number}`;
    const plan = bound(planServers(servers, { quorum: true, observers }), world.wall());
    const checks = startChecks(
      plan,
      environmentOf(surroundings, (change) => report.found(change)),
    );
    const decide = (decision: Decision): void => {
      report.decided(decision);
      checks.decide(decision);
    };
    this.#servers = new Servers({
      self: nodeName(number),
      states: plan.states,
      checks: { decide, share: () => checks.share() },
      opinions: this.opinions,
      say() {},
    });
    checks.follow(this.#servers);
    const members = new Map<string, Member>();
    const others = Array.from({ length: nodes }, (_, i) => i).filter((i) => i !== number);
    const probes = new Map(others.map((i) => [i, this.#probeOf(surroundings, i, members, report)]));
    const planned = bound(
      planNodes(others, interval, (node) => probes.get(node) ?? fail()),
      world.wall(),
    );
    const nodeChecks = startChecks(
      planned,
      environmentOf(surroundings, (change) => report.nodeFound(change)),
    );
    const looking: Looking = { plan: planned, members, opinions: this.opinions, servers: this.#servers };
    const numbers = new Map(planned.checks.map(({ name }, i) => [name, i]));
    nodeChecks.follow({
      runs: () => true,
      found: (_, name) => lookAtNode(numbers.get(name) ?? 0, looking),
      planned() {},
    });
    for (const i of planned.checks.keys()) lookAtNode(i, looking);
    this.#servers.planned(plan);
    const tick = (): void => {
      for (const i of planned.checks.keys()) lookAtNode(i, looking);
      this.#servers.tick(world.now());
      world.after(TICK_MS, tick);
    };
    tick();
  }

  #probeOf(surroundings: Surroundings, far: number, members: Map<string, Member>, report: Report): Probe {
    const member = new Member(nodeName(far));
    member.watch((key, before, after) => this.#servers.heard(key, before, after));
    members.set(member.name, member);
    return {
      send: Buffer.from("?"),
      begin() {},
      connected: () => undefined,
      data: () => {
        const { run, opinions } = surroundings.node(far);
        const changes = opinions.since(run === member.run ? member.known : 0);
        const answer = answerOf(member.name, changes);
        const empty = Object.keys(changes.opinions).length === 0;
        report.exchanged(REQUEST + (empty ? EMPTY : encodeBody(answer).length) + 2 * AROUND);
        member.heard(run, answer, 0, surroundings.world.now());
        this.#servers.came(member.name);
        return PASS;
      },
      end: () => "closed",
      reusable: true,
      unfinished: false,
    };
  }
}

function fail(): never {
  throw new Error("there is nobody at that address");
}
