import type { CheckDefinition } from "../health/definition.ts";
import type { CheckPlan, PlannedCheck } from "../health/plan.ts";
import { addressText } from "../net/address.ts";
import type { Identity } from "./group/identity.ts";
import type { Member } from "./group/member.ts";
import { NodeProbe } from "./group/node_probe.ts";
import type { ClusterSettings } from "./settings.ts";

const NO_TESTS = { status: () => true, headers: [], body: [] };

/** The checks of the other nodes: a node is one more kind of checked server. `heard` is called with each answer. */
export function planNodes(
  { name, nodes, self, check }: ClusterSettings,
  identity: Identity,
  members: ReadonlyMap<string, Member>,
  heard: (member: Member) => void,
): CheckPlan {
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
      ...(member === undefined ? {} : { probe: () => new NodeProbe(identity, member, heard) }),
    };
    const key = `node\0${name}\0${node.name}\0${text}`;
    return { key, upstream: `cluster ${name}`, name: text, target: node.address, server: node.name, definition };
  });
  const servers = checks.map(({ key, name }, number) => ({ key: `${key}\0server`, name, checks: [number] }));
  return { checks, upstreams: [{ name: `cluster ${name}`, panic: 0, servers, records: 2 * checks.length }] };
}
