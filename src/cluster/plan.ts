import type { CheckDefinition } from "../health/definition.ts";
import type { CheckPlan, PlannedCheck } from "../health/plan.ts";
import { addressText, hostText } from "../net/address.ts";
import type { NodeSetting } from "./directives.ts";
import type { Identity } from "./group/identity.ts";
import type { Member } from "./group/member.ts";
import { NodeProbe, type NodeTls } from "./group/node_probe.ts";
import type { ClusterSettings } from "./settings.ts";
import { clientTls } from "./tls/group_tls.ts";

const NO_TESTS = { status: () => true, headers: [], body: [] };

/** The checks of the other nodes: a node is one more kind of checked server. `heard` is called with each answer. */
export function planNodes(
  settings: ClusterSettings,
  identity: Identity,
  members: ReadonlyMap<string, Member>,
  heard: (member: Member) => void,
): CheckPlan {
  const { name, nodes, self, check } = settings;
  const others = nodes.filter((node) => node.name !== self.name);
  const checks = others.map((node): PlannedCheck => {
    const text = addressText(node.address);
    const member = members.get(node.name);
    const definition: CheckDefinition = {
      type: "node",
      label: `node ${node.name}`,
      ...check,
      jitter: 0,
      defaultDown: true,
      port: 0,
      unique: false,
      keep: { requests: Number.MAX_SAFE_INTEGER, time: 0 },
      tls: undefined,
      send: "",
      expect: NO_TESTS,
      receive: undefined,
      params: [],
      identity: "node",
      ...(member === undefined ? {} : { probe: () => new NodeProbe(identity, member, heard, tlsTo(settings, node)) }),
    };
    const key = `node\0${name}\0${node.name}\0${text}`;
    return { key, upstream: `cluster ${name}`, name: text, target: node.address, server: node.name, definition };
  });
  const servers = checks.map(({ key, name }, number) => ({ key: `${key}\0server`, name, checks: [number] }));
  return { checks, upstreams: [{ name: `cluster ${name}`, panic: 0, servers, records: 2 * checks.length }] };
}

function tlsTo(settings: ClusterSettings, node: NodeSetting): NodeTls | undefined {
  const { tls } = settings;
  return tls && { settings: clientTls(tls, certifiedNames(settings, node)), optional: tls.optional };
}

/** The names of which a node's certificate must be for one. */
export function certifiedNames({ resolve }: ClusterSettings, { name, address }: NodeSetting): readonly string[] {
  const names = new Set([name, hostText(address)]);
  if (resolve !== undefined) names.add(resolve.host);
  return [...names];
}
