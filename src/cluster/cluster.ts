import type { Group } from "../balancer/group.ts";
import { ADMIN } from "../balancer/peer.ts";
import { refusalsOf } from "../config/errors.ts";
import { valueIn } from "../config/schema.ts";
import type { Health } from "../health/health.ts";
import { HEALTH_ZONE, HealthStates, healthBytes } from "../health/state.ts";
import type { CheckerShare, WorkerShare } from "../http/conf/module.ts";
import type { Shares } from "../http/conf/program.ts";
import { COUNTER, COUNTERS } from "../http/core/counters.ts";
import { MAX_WORKERS } from "../runtime/application.ts";
import type { Cycle } from "../runtime/cycle.ts";
import { coreDirectives } from "../runtime/directives.ts";
import { openErrorLog } from "../runtime/log/error_log.ts";
import { addressMaster, addressWorkers, openAddresses } from "./address/address_share.ts";
import { AddressWatch } from "./address/watch.ts";
import { configurationDigest } from "./configuration_digest.ts";
import { clusterScope } from "./directives.ts";
import { EventHub } from "./events/event_hub.ts";
import { EVENTS_BYTES } from "./events/event_log.ts";
import { OWN_BYTES, OWN_ZONE, OwnState } from "./own_state.ts";
import { migrateReports, REPORT_ZONE, ReportTable, reportBytes } from "./report/report_table.ts";
import { ResolvedNode } from "./resolved_node.ts";
import { type ClusterSettings, mostNodes, readCluster } from "./settings.ts";
import { SNAPSHOT_ZONE, Snapshot } from "./snapshot.ts";
import { clusterCommands, NO_CLUSTER } from "./status/commands.ts";
import { syncChecker } from "./sync/share.ts";
import { shareSynced } from "./sync/store.ts";

/** Bytes of the matrix: what nodes find of each other and of each server, within these bounds. Pages that are not written take no memory. */
const OPINION_BYTES = 128;
const LEAST_SNAPSHOT = 1024 * 1024;
const MOST_SNAPSHOT = 64 * 1024 * 1024;
/** Key of what the program knows of the group among the notes of a configuration. */
const CLUSTER = Symbol("cluster");

/** The group in one process. */
export interface Cluster {
  readonly settings: ClusterSettings;
  readonly snapshot: Snapshot;
  readonly own: OwnState;
  readonly upstreams: readonly Group[];
  readonly reports: ReportTable;
  readonly hub: EventHub;
  readonly shares: Shares;
}

/** Opens what the processes of this node share of the group; undefined: the configuration has none. */
export function openCluster(cycle: Cycle, health: Health, upstreams: readonly Group[]): Cluster | undefined {
  const scope = clusterScope(cycle.root);
  const settings = scope && refusalsOf(cycle.root).attempt(() => readCluster(scope, cycle), "complete");
  if (settings === undefined) return undefined;
  const { name } = settings;
  const most = mostNodes(settings);
  const zone = { kind: HEALTH_ZONE, name: `cluster ${name}`, size: healthBytes(2 * most) };
  const states = new HealthStates(cycle.zone(zone));
  const servers = upstreams.reduce((all, { capacity }) => all + capacity, 0);
  const snapshot = new Snapshot(cycle.zone({ kind: SNAPSHOT_ZONE, name, size: snapshotBytes(most, servers) }));
  const events = new Snapshot(cycle.zone({ kind: SNAPSHOT_ZONE, name: `${name} events`, size: EVENTS_BYTES }));
  const hub = new EventHub(snapshot, events);
  const own = new OwnState(cycle.zone({ kind: OWN_ZONE, name, size: OWN_BYTES }));
  const reportZone = { kind: REPORT_ZONE, name, size: reportBytes(servers), migrate: migrateReports };
  const reports = new ReportTable(cycle.zone(reportZone));
  const addresses = openAddresses(cycle, settings);
  const counters = cycle.zone(COUNTERS).words;
  const load = () => ({
    connections: sum(counters, COUNTER.active),
    requests: sum(counters, COUNTER.requests),
  });
  const { generation, directives } = cycle.data;
  shareSynced(cycle, settings.store !== undefined);
  const openLog = () => openErrorLog(valueIn(cycle.root, coreDirectives.specs.error_log), cycle);
  let node: ResolvedNode | undefined;
  const syncing = syncChecker(cycle, settings, openLog, () => node?.speaks ?? true);
  const checker: CheckerShare = {
    name: "cluster",
    check(previous) {
      const log = openLog();
      const digest = configurationDigest(directives);
      const configuration = () => digest;
      previous?.stop();
      const watch = addresses && new AddressWatch(settings.self.name, settings.addresses, addresses, log);
      const parts = { snapshot, events, own, health, upstreams, reports, watch, store: syncing.row };
      const environment = { settings, states, generation, configuration, load, log, ...parts };
      node = new ResolvedNode(environment, previous instanceof ResolvedNode ? previous : undefined);
      return node;
    },
  };
  const commands = clusterCommands(settings.self.name, own, snapshot);
  const masters = [addressMaster(cycle, settings, own, addresses)];
  const workers = [addressWorkers(addresses), eventWorkers(hub)];
  const cluster = {
    settings,
    snapshot,
    own,
    upstreams,
    reports,
    hub,
    shares: { masters, workers, checkers: [checker, ...syncing.checkers], commands },
  };
  cycle.root.notes.set(CLUSTER, cluster);
  return cluster;
}

/**
 * What processes do for a group where the configuration has none: an earlier one may have had addresses, and servers that said
 * that they are not ready.
 */
export function withoutCluster(cycle: Cycle, upstreams: readonly Group[]): Shares {
  shareSynced(cycle, false);
  const checker: CheckerShare = {
    name: "cluster",
    check(previous) {
      previous?.stop();
      for (const upstream of upstreams) upstream.administer(() => ADMIN.up);
      return { stop: () => {} };
    },
  };
  return {
    masters: [addressMaster(cycle, undefined, undefined, undefined)],
    workers: [addressWorkers(undefined)],
    checkers: [checker],
    commands: NO_CLUSTER,
  };
}

/** undefined before openCluster, and without a group. */
export function clusterOf(cycle: Cycle): Cluster | undefined {
  const cluster = cycle.root.notes.get(CLUSTER);
  return cluster === undefined ? undefined : (cluster as Cluster);
}

function snapshotBytes(nodes: number, servers: number): number {
  let bytes = LEAST_SNAPSHOT;
  while (bytes < nodes * (nodes + servers) * OPINION_BYTES && bytes < MOST_SNAPSHOT) bytes *= 2;
  return bytes;
}

/** Streams of events must not keep an old configuration, or a worker that leaves. */
function eventWorkers(hub: EventHub): WorkerShare {
  return { enter: () => {}, forget: () => {}, retiring: () => hub.end() };
}

function sum(counters: Int32Array, word: number): number {
  let total = 0;
  for (let slot = 0; slot < MAX_WORKERS; slot++) total += counters[slot * COUNTER.words + word] >>> 0;
  return total;
}
