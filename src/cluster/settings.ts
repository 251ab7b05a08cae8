import { networkInterfaces } from "node:os";
import { warn } from "../config/errors.ts";
import { fail, type Scope } from "../config/schema.ts";
import { type Address, hostText, withPort } from "../net/address.ts";
import type { RedisDefinition } from "../redis/definition.ts";
import type { HostWanted } from "../runtime/application.ts";
import type { Cycle } from "../runtime/cycle.ts";
import { errorCode, errorText } from "../sys/errno.ts";
import type { OwnAddress } from "./address/keepalived_conf.ts";
import { priorityOf } from "./address/priority.ts";
import type { VirtualIp } from "./address/virtual_ip.ts";
import {
  clusterDirectives,
  clusterScope,
  type NodeCheck,
  type NodeSetting,
  type ResolveSetting,
} from "./directives.ts";
import { LEAST_SECRET, Secrets, secretsIn } from "./secret.ts";
import { readStore } from "./sync/store.ts";
import { type GroupTls, readGroupTls } from "./tls/group_tls.ts";

/** A `cluster` block as this node has it. */
export interface ClusterSettings {
  readonly name: string;
  readonly self: NodeSetting;
  /** In the order of the configuration, this one among them. */
  readonly nodes: readonly NodeSetting[];
  readonly check: NodeCheck;
  readonly secrets: Secrets;
  readonly addresses: readonly OwnAddress[];
  /** undefined: messages go in clear. */
  readonly tls: GroupTls | undefined;
  /** Where the nodes are the addresses of a name. */
  readonly resolve: ResolveSetting | undefined;
  /** Through which the nodes share state. */
  readonly store: RedisDefinition | undefined;
}

/** All of that network are this machine's. */
const LOOPBACK = "127.";

/** Nodes of a name: more are not taken. */
const MOST_NODES = 256;

/** How many nodes there may be. */
export function mostNodes({ nodes, resolve }: ClusterSettings): number {
  return resolve === undefined ? nodes.length : MOST_NODES;
}

export function clusterHosts(root: Scope): readonly HostWanted[] {
  const scope = clusterScope(root);
  const resolve = scope && clusterDirectives.in(scope).resolve;
  if (scope === undefined || resolve === undefined) return [];
  const { host, at } = resolve;
  const { file, line } = at;
  return [{ host, file, line, error: `host not found in cluster "${scope.directive.args[0]}": "${host}"` }];
}

/** The group with the nodes that a name stands for now; this one stays, whatever the name says. */
export function withNodes(settings: ClusterSettings, found: readonly Address[]): ClusterSettings {
  const { resolve, self } = settings;
  if (resolve === undefined) return settings;
  return { ...settings, nodes: nodesOf(resolve, [...found, self.address]) };
}

/** In an order that is the same on all nodes. */
function nodesOf({ port, at }: ResolveSetting, found: readonly Address[]): NodeSetting[] {
  const byName = new Map<string, NodeSetting>();
  for (const one of found) {
    if (one.family === "unix") continue;
    byName.set(one.host, { name: one.host, address: withPort(one, port), at });
  }
  return [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1)).slice(0, MOST_NODES);
}

/** Throws ConfigError. */
export function readCluster(scope: Scope, cycle: Cycle): ClusterSettings {
  const [name] = scope.directive.args;
  const settings = clusterDirectives.in(scope);
  const { node: written, resolve, self: named, check, virtual_ip, store: setting } = settings;
  const nodes = resolve === undefined ? written : nodesOf(resolve, cycle.data.hosts[resolve.host] ?? []);
  const self = ownNode(scope, nodes, named);
  const addresses = virtual_ip.map((address) => ownAddress(address, self, nodes));
  const secrets = readSecrets(scope, name, cycle);
  const tls = readGroupTls(settings, scope, clusterDirectives.specs, cycle);
  const store = setting && readStore(setting, name, cycle);
  return { name, nodes, self, check, secrets, addresses, tls, resolve, store };
}

function ownAddress(address: VirtualIp, self: NodeSetting, nodes: readonly NodeSetting[]): OwnAddress {
  const names = nodes.map(({ name }) => name);
  const priority = address.priority ?? priorityOf(names, address.prefer ?? names[0], self.name);
  const others = nodes.filter((node) => node !== self).map((node) => node.address);
  return { ...address, priority, self: self.address, others };
}

function ownNode(scope: Scope, nodes: readonly NodeSetting[], self: string | undefined): NodeSetting {
  const at = scope.directive;
  const [name] = at.args;
  const place = scope.places.get(clusterDirectives.specs.self) ?? at;
  const own = new Set(Object.values(networkInterfaces()).flatMap((all) => all?.map(({ address }) => address) ?? []));
  const isOwn = ({ address }: NodeSetting): boolean =>
    address.family !== "unix" && (own.has(address.host) || address.host.startsWith(LOOPBACK));
  if (self !== undefined) {
    const named = nodes.find((node) => node.name === self) ?? fail(place, `there is no node "${self}"`);
    if (!isOwn(named)) {
      warn(place, scope, `this machine has no address ${hostText(named.address)}, where node "${self}" is to listen`);
    }
    return named;
  }
  const here = nodes.filter(isOwn);
  if (here.length === 1) return here[0];
  const what =
    here.length === 0 ? "no node" : `more than one node (${here.map((node) => `"${node.name}"`).join(", ")})`;
  return fail(at, `${what} of cluster "${name}" has an address of this machine: "self" is to say which one it is`);
}

function readSecrets(scope: Scope, cluster: string, cycle: Cycle): Secrets {
  const at = clusterDirectives.own(scope).secret_file;
  if (at === undefined) return fail(scope.directive, `cluster "${cluster}" has no "secret_file"`);
  const path = cycle.path(at.args[0], "conf");
  let lines: string[];
  try {
    lines = secretsIn(cycle.readFile(path));
  } catch (error) {
    return fail(at, `cannot read the secret "${path}" (${errorText(errorCode(error))})`);
  }
  if (lines.length === 0) fail(at, `there is no secret in "${path}"`);
  if (lines.some(({ length }) => length < LEAST_SECRET)) {
    fail(at, `a secret in "${path}" has fewer than ${LEAST_SECRET} characters`);
  }
  return new Secrets(cluster, lines);
}
