import type { Attempt, BalanceInput } from "../../src/balancer/attempt.ts";
import {
  type MethodDefinition,
  SERVER_DEFAULTS,
  type ServerDefinition,
  type UpstreamDefinition,
} from "../../src/balancer/definition.ts";
import { buildUpstream, type Group, type GroupOptions } from "../../src/balancer/group.ts";
import { UPSTREAM_ZONE, zoneBytes } from "../../src/balancer/zone.ts";
import type { Address } from "../../src/net/address.ts";
import { makeZone, type Zone } from "../../src/shm/zone.ts";

const place = { file: "nginx.conf", line: 1 };

/** A server on 127.0.0.1, by port. */
export function server(port: number, options: Partial<ServerDefinition> = {}): ServerDefinition {
  const target: Address = { family: "ipv4", host: "127.0.0.1", port };
  return { ...SERVER_DEFAULTS, server: `127.0.0.1:${port}`, target, ...place, ...options };
}

export function definition(
  servers: readonly ServerDefinition[],
  method: MethodDefinition = { name: "round_robin" },
): UpstreamDefinition {
  return {
    name: "u",
    servers,
    method,
    keepalive: undefined,
    queue: undefined,
    ntlm: false,
    state: false,
    zone: 0,
    ...place,
  };
}

/** A wall clock that the test moves. */
export class TestClock {
  ms = 1_800_000_000_000;
  readonly now = (): number => this.ms;
  pass(seconds: number): void {
    this.ms += seconds * 1000;
  }
}

/** A new zone for that many servers. */
export function upstreamZone(servers: number): Zone {
  return makeZone(UPSTREAM_ZONE, "u", zoneBytes(servers));
}

export function group(
  servers: readonly ServerDefinition[],
  method: MethodDefinition = { name: "round_robin" },
  options: Partial<GroupOptions> = {},
): Group {
  const shared = upstreamZone(servers.length);
  return buildUpstream(definition(servers, method), {}, shared, { generation: 1, ...options });
}

export function input(key = "", host = "127.0.0.1"): BalanceInput {
  return { client: { family: host.includes(":") ? "ipv6" : "ipv4", host, port: 1 }, key };
}

/** The port of the server a fresh request goes to, or undefined; the connection is given back at once. */
export function pickPort(upstream: Group, from: BalanceInput = input()): number | undefined {
  const attempt = upstream.begin(from);
  const port = portOf(upstream, attempt);
  if (port !== undefined) upstream.release(attempt, "ok");
  upstream.end(attempt);
  return port;
}

/** The port of the next server of an attempt; the connection stays taken. */
export function portOf(upstream: Group, attempt: Attempt): number | undefined {
  const peer = upstream.next(attempt);
  return peer === undefined || peer.address.family === "unix" ? undefined : peer.address.port;
}

export function times<T>(count: number, make: () => T): T[] {
  return Array.from({ length: count }, make);
}
