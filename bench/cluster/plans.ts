import type { CheckDefinition } from "../../src/health/definition.ts";
import { type BoundPlan, bindPlan, type CheckPlan, recordsOf } from "../../src/health/plan.ts";
import type { Probe } from "../../src/health/probe.ts";
import type { Sharing } from "../../src/health/sharing.ts";
import { HEALTH_ZONE, HealthStates, healthBytes } from "../../src/health/state.ts";
import type { Address } from "../../src/net/address.ts";
import { makeZone } from "../../src/shm/zone.ts";

/** What is checked in the simulation: addresses are a kind and a number. */
export const SERVER = "server";
const NODE = "node";
export const UPSTREAM = "app";

const CHECK = {
  jitter: 0,
  port: 0,
  unique: false,
  tls: undefined,
  send: "",
  expect: { status: () => true, headers: [], body: [] },
  receive: undefined,
  params: [],
} as const;

export const serverName = (number: number): string => `10.${number >> 16}.${(number >> 8) & 255}.${number & 255}:80`;
export const nodeName = (number: number): string => `lb${number}`;

/** `check interval=1000 fall=3 rise=2 timeout=1000`, of these servers. */
export function planServers(numbers: readonly number[], sharing: Sharing | undefined): CheckPlan {
  const shared = sharing === undefined ? {} : { sharing };
  const definition: CheckDefinition = {
    ...CHECK,
    ...shared,
    type: "tcp",
    label: "tcp",
    interval: 1000,
    timeout: 1000,
    fall: 3,
    rise: 2,
    defaultDown: true,
    keep: { requests: 1, time: 0 },
    identity: "tcp",
  };
  return planOf(UPSTREAM, SERVER, numbers, serverName, () => definition, shared);
}

/** `check fall=3 rise=2 timeout=300` of a cluster, of these nodes. */
export function planNodes(numbers: readonly number[], interval: number, probe: (node: number) => Probe): CheckPlan {
  return planOf("cluster", NODE, numbers, nodeName, (node) => ({
    ...CHECK,
    type: "node",
    label: nodeName(node),
    interval,
    timeout: 300,
    fall: 3,
    rise: 2,
    defaultDown: true,
    keep: { requests: Number.MAX_SAFE_INTEGER, time: 0 },
    identity: "node",
    probe: () => probe(node),
  }));
}

function planOf(
  upstream: string,
  kind: string,
  numbers: readonly number[],
  nameOf: (number: number) => string,
  definitionOf: (number: number) => CheckDefinition,
  shared: { readonly sharing?: Sharing } = {},
): CheckPlan {
  const checks = numbers.map((number) => {
    const name = nameOf(number);
    const target: Address = { family: "ipv4", host: kind, port: number };
    return { key: `check ${name}`, upstream, name, target, server: name, definition: definitionOf(number) };
  });
  const servers = checks.map(({ name }, number) => ({ key: `server ${name}`, name, checks: [number] }));
  return { checks, upstreams: [{ name: upstream, panic: 0, servers, records: 2 * checks.length, ...shared }] };
}

/** A plan with states of its own, with room for that many records. */
export function bound(plan: CheckPlan, now: number, records = recordsOf(plan)): BoundPlan {
  return bindPlan(plan, new HealthStates(makeZone(HEALTH_ZONE, "checks", healthBytes(records))), 1, now);
}
