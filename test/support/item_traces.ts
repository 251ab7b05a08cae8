import { createHash } from "node:crypto";
import { readItem } from "../../src/session/memcached/item.ts";
import { Queue } from "../../src/session/redis/queue.ts";
import { openEnvironment } from "../../src/session/zone/environment.ts";
import { idText } from "../../src/session/zone/session_id.ts";
import { readSession, type StoredSession } from "../../src/session/zone/stored_session.ts";
import type { Running } from "./holdfast.ts";
import type { Redis } from "./redis.ts";

/** How many lines of a log are shown. */
const LINES = 30;
const SIZE = 1 << 25;

/**
 * What there is of an item in a group's zone, for the message of a test that has read another one: in Redis, in the node's copy, and in
 * what the node is still to tell Redis; then the end of the node's log.
 */
export async function tracesOf(key: string, zone: string, node: Running, redis: Redis): Promise<string> {
  const id = createHash("sha256").update(`item\0${key}`, "latin1").digest();
  const environment = openEnvironment(`${node.prefix}/${zone}.mdb`, SIZE, false);
  environment.root.resetReadTxn();
  const unsent = new Queue(environment, SIZE).get(id);
  const copy = readSession(environment.items.getBinary(id));
  const told = await redis.info("", "GET", `holdfast:${zone}:${idText(id)}`).catch(() => undefined);
  const there =
    told === undefined ? "away" : stateOf(readSession(Buffer.from(told.slice(told.indexOf("\n") + 1), "latin1")));
  const waits =
    unsent && `${stateOf(unsent.current)}, on top of ${stateOf(unsent.base)}, asked of Redis was ${unsent.tried}`;
  const log = node.errorLog().trimEnd().split("\n").slice(-LINES).join("\n");
  return [
    `At ${Date.now()}, commit ${environment.commits.last}:`,
    `in Redis: ${there}`,
    `in the node's copy: ${stateOf(copy)}`,
    `to be told: ${waits ?? "nothing"}`,
    log,
  ].join("\n");
}

function stateOf(session: StoredSession | undefined): string {
  if (session === undefined) return "nothing";
  const { version, members, expires } = session;
  const item = typeof members.item === "string" ? readItem(Buffer.from(members.item, "base64")) : undefined;
  const value = item === undefined ? "a mark" : JSON.stringify(item.data.toString("latin1"));
  return `version ${version}, ${value} until ${expires}`;
}
