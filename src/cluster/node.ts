import type { Health } from "../health/health.ts";
import { type BoundPlan, bindPlan } from "../health/plan.ts";
import { type Checks, startChecks } from "../health/scheduler.ts";
import type { HealthStates } from "../health/state.ts";
import { addressText, hostText } from "../net/address.ts";
import { IGNORE, type Stream, type StreamError, type StreamHandler } from "../net/stream.ts";
import type { CheckerService } from "../runtime/application.ts";
import type { ErrorLog } from "../runtime/log/log.ts";
import type { SslConnection } from "../sys/openssl/ssl.ts";
import { randomBytes } from "../sys/random.ts";
import { startTimer, type Timer } from "../sys/timers.ts";
import { VERSION } from "../version.ts";
import type { AddressWatch } from "./address/watch.ts";
import { Askers } from "./group/askers.ts";
import { Connections } from "./group/connections.ts";
import { Door, type DoorOwner } from "./group/door.ts";
import { Identity, runText } from "./group/identity.ts";
import { Member } from "./group/member.ts";
import type { AnswerBody, NodeFacts, RequestBody } from "./group/messages.ts";
import { Opinions } from "./group/opinions.ts";
import { RefusalLog } from "./group/refusal_log.ts";
import { ReplayGuard } from "./group/replay_guard.ts";
import { type Answerer, HASTE_MS, Responder, type Security } from "./group/responder.ts";
import { type Looking, lookAtNode } from "./look.ts";
import type { OwnState } from "./own_state.ts";
import { certifiedNames, planNodes } from "./plan.ts";
import { Publisher } from "./publisher.ts";
import type { ReportTable } from "./report/report_table.ts";
import { type ReportedUpstream, Reporting } from "./report/reporting.ts";
import { Servers } from "./servers.ts";
import type { ClusterSettings } from "./settings.ts";
import type { Snapshot } from "./snapshot.ts";
import type { StoreRow } from "./sync/store_row.ts";
import { acceptSecurely, type SecureAcceptOwner } from "./tls/accept.ts";
import { certificateFailure } from "./tls/certificate.ts";

/** How often the node looks at its servers' states and publishes what it knows, ms. */
const TICK_MS = 100;

/** What a node's part in the group depends on. */
export interface NodeEnvironment {
  readonly settings: ClusterSettings;
  readonly states: HealthStates;
  readonly generation: number;
  readonly snapshot: Snapshot;
  readonly events: Snapshot;
  readonly own: OwnState;
  readonly health: Health;
  readonly upstreams: readonly ReportedUpstream[];
  readonly reports: ReportTable;
  readonly configuration: () => string;
  readonly load: () => Pick<NodeFacts, "connections" | "requests">;
  readonly log: ErrorLog;
  /** undefined where the group has no virtual addresses. */
  readonly watch: AddressWatch | undefined;
  /** How it does with the store of the group; undefined where that has none. */
  readonly store: () => StoreRow | undefined;
}

/** This node's part in the group, in the checker: asks the others, answers them, and publishes who sees whom. */
export class ClusterNode implements CheckerService, Answerer, DoorOwner, SecureAcceptOwner {
  readonly identity: Identity;
  readonly guard: ReplayGuard;
  readonly connections: Connections;
  readonly security: Security | undefined;
  readonly #environment: NodeEnvironment;
  readonly #members = new Map<string, Member>();
  readonly #opinions: Opinions;
  readonly #servers: Servers;
  readonly #reporting: Reporting;
  readonly #plan: BoundPlan;
  readonly #looking: Looking;
  readonly #checks: Checks;
  readonly #door: Door;
  #timer: Timer | undefined;
  readonly #refusals: RefusalLog;
  readonly #askers: Askers;
  readonly #publisher: Publisher;

  constructor(environment: NodeEnvironment, previous?: ClusterNode) {
    const { settings, states, generation, log } = environment;
    const { name, self, secrets } = settings;
    this.#environment = environment;
    const run = randomBytes(8).readBigUInt64BE();
    this.identity = new Identity(name, self.name, run, secrets, previous?.identity.refusals);
    const hosts = settings.nodes.map(({ address }) => hostText(address));
    this.connections = new Connections(settings.check.interval, this.identity.refusals, hosts);
    this.security = securityOf(settings);
    this.#refusals = new RefusalLog(settings, log);
    this.#askers = previous === undefined ? new Askers() : previous.#askers;
    this.guard = previous?.guard ?? new ReplayGuard();
    this.#opinions = new Opinions();
    this.#servers = this.#shareServers();
    this.#reporting = this.#shareReports();
    const known = {
      members: this.#members,
      opinions: this.#opinions,
      reporting: this.#reporting,
      facts: () => this.#facts(),
      twice: (node: string) => this.#askers.twice(node, performance.now()),
    };
    const shown = previous === undefined ? undefined : previous.#publisher;
    this.#publisher = new Publisher(environment, known, shown);
    // What is known of a node outlives a reload.
    const before = previous === undefined ? undefined : previous.#members;
    for (const { name } of settings.nodes) {
      if (name === self.name) continue;
      const member = before?.get(name) ?? new Member(name);
      member.watch((key, was, is) => {
        this.#servers.heard(key, was, is);
        if (is?.report !== undefined) this.#reporting.hear(key, is);
      });
      this.#members.set(name, member);
    }
    const planned = planNodes(settings, this.identity, this.#members, ({ name }) => {
      this.#servers.came(name);
      this.#reporting.look();
    });
    this.#plan = bindPlan(planned, states, generation, Date.now());
    this.#checks = startChecks(this.#plan, { log });
    this.#checks.follow({ runs: () => true, found: (_, name) => this.#found(name), planned: () => {} });
    this.#looking = { plan: this.#plan, members: this.#members, opinions: this.#opinions, servers: this.#servers };
    for (const [number, { server }] of planned.checks.entries()) {
      if (states.up(this.#plan.records[number])) this.#servers.await(server);
    }
    const door = previous === undefined ? undefined : previous.#door;
    const { address } = settings.self;
    this.#door = door?.pass(address, this) === true ? door : new Door(address, this);
    this.#look();
    this.#servers.planned(environment.health.plan);
    this.#tick();
  }

  #shareServers(): Servers {
    const { settings, health, log } = this.#environment;
    const { checks, plan } = health;
    const say = (message: string): void => log.write("error", message);
    const servers = new Servers({
      self: settings.self.name,
      states: plan.states,
      checks,
      opinions: this.#opinions,
      say,
    });
    checks?.follow(servers);
    return servers;
  }

  #shareReports(): Reporting {
    const { upstreams, reports: table, settings, log } = this.#environment;
    return new Reporting({
      table,
      upstreams,
      opinions: this.#opinions,
      others: () => [...this.#members.values()].map(({ opinions }) => opinions),
      wall: this.identity.wall,
      say: (message) => log.write("notice", `${message}, cluster: "${settings.name}"`),
    });
  }

  stop(): void {
    this.#checks.stop();
    this.#environment.health.checks?.follow(undefined);
    this.connections.leave();
    this.#door.leave(() => this.connections.stop());
    this.#timer?.clear();
  }

  cannotListen({ code, message }: StreamError): void {
    const { settings, log } = this.#environment;
    const { name, address } = settings.self;
    const hint = code === "EADDRNOTAVAIL" ? `: is this machine node "${name}"?` : "";
    log.write("error", `bind() to ${addressText(address)} for cluster "${settings.name}" failed (${message})${hint}`);
  }

  accept(stream: Stream): StreamHandler {
    if (!this.connections.admits(hostText(stream.remote), performance.now())) {
      stream.destroy();
      return IGNORE;
    }
    const { tls } = this.#environment.settings;
    return tls === undefined ? new Responder(stream, this) : acceptSecurely(stream, this, tls, HASTE_MS);
  }

  begin(stream: Stream, ssl: SslConnection | undefined): StreamHandler {
    return new Responder(stream, this, ssl);
  }

  handshakeFailed(stream: Stream, sentence: string): void {
    this.identity.refusals.count("certificate");
    this.refused(hostText(stream.remote), `is refused: ${sentence}`);
  }

  #tick(): void {
    this.#look();
    this.#reporting.look();
    this.#servers.tick(performance.now());
    this.#address();
    this.#publisher.publish();
    if (this.#environment.own.state === "leaving") this.#leave();
    this.#timer = startTimer(TICK_MS, () => this.#tick(), { background: true });
  }

  // ---- what others ask

  answer({ from, run, known }: RequestBody, asker: bigint, host: string): AnswerBody | undefined {
    const { settings } = this.#environment;
    const member = this.#members.get(from);
    if (member === undefined) return undefined;
    this.#askers.asked(from, asker, host, performance.now());
    const knows = run === runText(this.identity.run) ? known : 0;
    member.toldNumber = knows;
    // What a server has just said goes with this answer.
    this.#reporting.look();
    member.toldLeaving = this.#environment.own.state === "leaving";
    return {
      cluster: settings.name,
      from: settings.self.name,
      facts: this.#facts(),
      changes: this.#opinions.since(knows),
      ...(settings.tls === undefined ? {} : { tls: true }),
    };
  }

  refused(host: string, reason: string, node?: string): void {
    this.#refusals.refused(host, reason, node);
  }

  #facts(): NodeFacts {
    const { configuration, load, own } = this.#environment;
    return {
      state: own.state,
      version: VERSION,
      configuration: configuration(),
      ...load(),
      refused: this.identity.refusals.counts,
    };
  }

  // ---- what this node finds

  #found(address: string): void {
    const number = this.#plan.checks.findIndex(({ name }) => name === address);
    if (number !== -1) lookAtNode(number, this.#looking);
  }

  #look(): void {
    let pending = 0;
    for (const number of this.#plan.checks.keys()) if (!lookAtNode(number, this.#looking)) pending++;
    if (pending === 0 && this.#servers.pending === 0) this.#environment.own.judged();
  }

  // ---- its virtual addresses, and its end

  #address(): void {
    const { watch, settings, own, health } = this.#environment;
    const { interval, timeout } = settings.check;
    // Nodes are asked once an interval, and what they said of an address that has just moved is from before.
    watch?.look(own.state, this.#members, this.#opinions, health.plan, 2 * (interval + timeout));
  }

  /** Says when each node that it hears has heard that this one leaves. */
  #leave(): void {
    for (const { facts, toldLeaving } of this.#members.values()) if (facts !== undefined && !toldLeaving) return;
    this.#environment.own.tell();
  }
}

function securityOf(settings: ClusterSettings): Security | undefined {
  const { tls, nodes } = settings;
  if (tls === undefined) return undefined;
  return {
    optional: tls.optional,
    certificateFailure(ssl, name) {
      const node = nodes.find((one) => one.name === name);
      // One that is not in the configuration is refused as such.
      return node && certificateFailure(ssl, certifiedNames(settings, node));
    },
  };
}
