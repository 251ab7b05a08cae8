import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { RedisArgument } from "@redis/client";
import type { RedisDefinition } from "./definition.ts";

/** What is needed of the client library, in whichever of its modes. */
export interface Client {
  connect(): Promise<unknown>;
  destroy(): void;
  send(key: string, args: readonly RedisArgument[]): Promise<unknown>;
  /** A client that has subscribed sends no commands. */
  subscribe(channel: string, onMessage: (message: Buffer) => void): Promise<unknown>;
}

/** Strings come as bytes. The library's number of that type. */
const AS_BYTES = { typeMapping: { 36: Buffer } } as const;
const CONNECT_MS = 2000;
/** Pauses between attempts to connect double from the one to the other, each a random part shorter. */
const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 2000;
/** Commands that may wait for answers. */
const MOST_WAITING = 100_000;
/** Closes its connections. */
export function destroy(client: Client | undefined): void {
  try {
    client?.destroy();
  } catch {
    // It was closed before.
  }
}

/** The built program has the library in one file beside it. */
function loadClient(): typeof import("@redis/client") {
  const load = createRequire(import.meta.url);
  const built = fileURLToPath(new URL("redis.cjs", import.meta.url));
  return load(existsSync(built) ? built : "@redis/client");
}

export function openClient(definition: RedisDefinition, onError: (error: unknown) => void): Client {
  const redis = loadClient();
  const { kind, hosts, database, user, password, tls, master = "" } = definition;
  const common = {
    connectTimeout: CONNECT_MS,
    reconnectStrategy: (retries: number): number =>
      Math.min(FIRST_PAUSE_MS * 2 ** Math.min(retries, 10), LAST_PAUSE_MS) * (0.5 + Math.random() / 2),
  };
  const secure = tls && { ca: tls.ca, rejectUnauthorized: tls.verify };
  const socketTo = (host: { readonly host: string; readonly port: number } | undefined) =>
    secure === undefined ? { ...common, ...host } : { ...common, ...host, tls: true as const, ...secure };
  const login = { ...(user === undefined ? {} : { username: user }), ...(password === undefined ? {} : { password }) };
  const options = {
    RESP: 2,
    disableOfflineQueue: true,
    disableClientInfo: true,
    commandsQueueMaxLength: MOST_WAITING,
    maintNotifications: "disabled",
  } as const;
  if (kind === "cluster") {
    const cluster = redis.createCluster({
      RESP: 2,
      rootNodes: hosts.map((host) => ({ socket: socketTo(host) })),
      defaults: { ...options, ...login, socket: socketTo(undefined) },
    });
    cluster.on("error", onError);
    return {
      connect: () => cluster.connect(),
      destroy: () => cluster.destroy(),
      send: (key, args) => cluster.sendCommand(key, false, [...args], AS_BYTES),
      subscribe: (channel, onMessage) => cluster.subscribe(channel, onMessage, true),
    };
  }
  if (kind === "sentinel") {
    const sentinel = redis.createSentinel({
      RESP: 2,
      name: master,
      sentinelRootNodes: hosts.map(({ host, port }) => ({ host, port })),
      nodeClientOptions: { ...options, ...login, database, socket: socketTo(undefined) },
      sentinelClientOptions: { ...options, socket: socketTo(undefined) },
      passthroughClientErrorEvents: false,
      scanInterval: 1000,
    });
    sentinel.on("error", onError);
    return {
      connect: () => sentinel.connect(),
      destroy: () => sentinel.destroy(),
      send: (_key, args) => sentinel.sendCommand(false, [...args], AS_BYTES),
      subscribe: (channel, onMessage) => sentinel.subscribe(channel, onMessage, true),
    };
  }
  const client = redis.createClient({ ...options, ...login, database, socket: socketTo(hosts[0]) });
  client.on("error", onError);
  client.unref();
  return {
    connect: () => client.connect(),
    destroy: () => client.destroy(),
    send: (_key, args) => client.sendCommand(args, AS_BYTES),
    subscribe: (channel, onMessage) => client.subscribe(channel, onMessage, true),
  };
}
