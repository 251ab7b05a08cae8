import { type Command, CommandError, type CommandReply, type CommandRequest } from "../../runtime/control/protocol.ts";
import { wallNow } from "../../sys/clock.ts";
import type { KeyvalZone, SetResult } from "./keyval_zone.ts";
import type { Pair } from "./pair_entries.ts";
import { filedKey, shownKey } from "./pair_key.ts";

/** What is answered of keyval zones at the control socket: `keyval ls`, `get`, `set`, `del`, `clear`. In the checker. */

/** `zones`: those of the configuration. */
export function keyvalCommands(zones: readonly KeyvalZone[]): ReadonlyMap<string, Command> {
  const on =
    (work: (zone: KeyvalZone, request: CommandRequest, reply: CommandReply) => Promise<unknown>): Command =>
    async (request, reply) => {
      await work(zoneOf(zones, request), request, reply);
    };
  return new Map([
    ["keyval ls", on(list)],
    ["keyval get", on(get)],
    ["keyval set", on(set)],
    ["keyval del", on(remove)],
    ["keyval clear", on(clear)],
  ]);
}

function zoneOf(zones: readonly KeyvalZone[], { zone }: CommandRequest): KeyvalZone {
  const found = zones.find(({ name }) => name === zone);
  if (found !== undefined) return found;
  const names = zones.map(({ name }) => name).join(", ");
  throw new CommandError(
    `there is no keyval zone "${zone}" (${names === "" ? "there is none at all" : `there are: ${names}`})`,
  );
}

function textIn(request: CommandRequest, name: string): string {
  const value = request[name];
  if (typeof value !== "string") throw new CommandError(`"${name}" is no text`);
  return value;
}

/** `left`: ms, where the pair ends. */
function shown({ settings }: KeyvalZone, { key, value, ends }: Pair) {
  const left = ends === Number.POSITIVE_INFINITY ? {} : { left: Math.max(0, Math.ceil(ends - wallNow())) };
  return { key: shownKey(settings.type, key), value, ...left };
}

/** Others' turn. */
function pause(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

async function list(zone: KeyvalZone, _request: CommandRequest, reply: CommandReply): Promise<void> {
  for (const pairs of zone.table.all(false)) {
    for (const pair of pairs) if (!(await reply.line(shown(zone, pair)))) return;
  }
}

async function get(zone: KeyvalZone, request: CommandRequest, reply: CommandReply): Promise<void> {
  const text = textIn(request, "key");
  const key = filedKey(zone.settings.type, text);
  const pair = key === undefined ? undefined : zone.table.get(key);
  if (pair === undefined) throw missing(zone, text);
  await reply.line(shown(zone, pair));
}

function missing({ name }: KeyvalZone, key: string): CommandError {
  return new CommandError(`there is no key "${key}" in keyval zone "${name}"`);
}

async function set(zone: KeyvalZone, request: CommandRequest, reply: CommandReply): Promise<void> {
  const key = textIn(request, "key");
  const { timeout } = request;
  const isLifetime = typeof timeout === "number" && timeout > 0;
  if (timeout !== undefined && !isLifetime) throw new CommandError('"timeout" is no time');
  const result = zone.set(key, textIn(request, "value"), isLifetime ? timeout : undefined);
  if (result !== "done") throw new CommandError(refusal(zone, key, result));
  await reply.line({ set: key });
}

/** Why a pair was not set. */
export function refusal({ name }: KeyvalZone, key: string, result: Exclude<SetResult, "done">): string {
  switch (result) {
    case "full":
      return `keyval zone "${name}" is full: "${key}" was not set; remove pairs, or give the zone a larger size`;
    case "no key":
      return `a pair of keyval zone "${name}" needs a key that is not empty`;
    case "no network":
      return `"${key}" is neither an address nor a network (address/bits), as keyval zone "${name}" has them`;
    case "too long":
      return `the pair is too long for keyval zone "${name}": a key has up to 65535 bytes, a value up to 131044`;
  }
}

async function remove(zone: KeyvalZone, request: CommandRequest, reply: CommandReply): Promise<void> {
  const key = textIn(request, "key");
  if (!zone.remove(key)) throw missing(zone, key);
  await reply.line({ removed: key });
}

async function clear(zone: KeyvalZone, _request: CommandRequest, reply: CommandReply): Promise<void> {
  let pairs = 0;
  for (const removed of zone.clear()) {
    pairs += removed;
    await pause();
  }
  await reply.line({ cleared: zone.name, pairs });
}
