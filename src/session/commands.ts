import { type Command, CommandError, type CommandReply, type CommandRequest } from "../runtime/control/protocol.ts";
import { startTimer } from "../sys/timers.ts";
import type { Outcome } from "./zone/change.ts";
import { idText, isSessionId, parseId } from "./zone/session_id.ts";
import type { SessionZone } from "./zone/session_zone.ts";
import { readSession, type StoredSession } from "./zone/stored_session.ts";

/** What is answered of session zones at the control socket: `session ls`, `session show`, `session drop`. In the checker. */

/** So many sessions are looked at, then the checker has a pause. */
const AT_ONCE = 200;
const PAUSE_MS = 5;

/** `zones`: those of the configuration. */
export function sessionCommands(zones: () => readonly SessionZone[]): ReadonlyMap<string, Command> {
  const on =
    (work: (zone: SessionZone, request: CommandRequest, reply: CommandReply) => Promise<void>): Command =>
    (request, reply) =>
      work(zoneOf(zones(), request), request, reply);
  return new Map([
    ["session ls", on(list)],
    ["session show", on(show)],
    ["session drop", on(drop)],
  ]);
}

function zoneOf(zones: readonly SessionZone[], { zone }: CommandRequest): SessionZone {
  const found = zones.find(({ settings }) => settings.name === zone);
  if (found !== undefined) return found;
  const names = zones.map(({ settings }) => settings.name).join(", ");
  throw new CommandError(
    `there is no session zone "${zone}" (${names === "" ? "there is none at all" : `there are: ${names}`})`,
  );
}

/** What is no id is not repeated: it may be a whole cookie. */
function idIn({ id }: CommandRequest): Buffer {
  const found = typeof id === "string" ? parseId(id) : undefined;
  if (found === undefined)
    throw new CommandError("that is no session's id, which has 22 characters of A-Z a-z 0-9 - _");
  return found;
}

function missing({ settings }: SessionZone, id: Buffer): CommandError {
  return new CommandError(`there is no session "${idText(id)}" in zone "${settings.name}"`);
}

/** A line for each session: those that this machine has, and what of them the store of a group does not know yet. */
async function list(zone: SessionZone, _request: CommandRequest, reply: CommandReply): Promise<void> {
  const { records, waiting } = zone;
  if (records === undefined) throw new CommandError(`session zone "${zone.settings.name}" cannot be opened`);
  let after: Buffer | undefined;
  do {
    const some = records.some("session", AT_ONCE, after);
    const now = Date.now();
    for (const [id, bytes] of some) {
      // What waits comes afterwards.
      if (waiting?.has(id) === true) continue;
      const session = readSession(bytes);
      if (session === undefined || session.movedTo !== undefined || session.expires <= now) continue;
      if (!(await reply.line(summary(id, session, "stored", now)))) return;
    }
    after = some.at(-1)?.[0];
    if (after !== undefined) await pause();
  } while (after !== undefined);
  if (waiting === undefined) return;
  do {
    const ids = waiting.ids(AT_ONCE, after);
    const now = Date.now();
    for (const id of ids) {
      const session = isSessionId(id) ? waiting.living(id, now) : undefined;
      if (session !== undefined && !(await reply.line(summary(id, session, "waits", now)))) return;
    }
    after = ids.at(-1);
    if (after !== undefined) await pause();
  } while (after !== undefined);
}

function pause(): Promise<void> {
  return new Promise((resolve) => startTimer(PAUSE_MS, resolve));
}

/** Times in seconds. "waits": its last change is not known yet to the store of the group. */
function summary(id: Buffer, session: StoredSession, state: "stored" | "waits", now: number) {
  return {
    id: idText(id),
    state,
    size: session.data.length,
    age: Math.max(0, Math.floor((now - session.created) / 1000)),
    left: Math.ceil((session.expires - now) / 1000),
    version: session.version,
  };
}

async function show(zone: SessionZone, request: CommandRequest, reply: CommandReply): Promise<void> {
  const id = idIn(request);
  const session = await new Promise<StoredSession | undefined>((resolve, reject) => {
    zone.store.read(id, {
      onSession(found, unknown) {
        if (unknown) reject(unable(zone, "its store does not answer"));
        else resolve(found);
      },
    });
  });
  if (session === undefined) throw missing(zone, id);
  await reply.line({
    ...summary(id, session, zone.waiting?.has(id) === true ? "waits" : "stored", Date.now()),
    created: Math.floor(session.created / 1000),
    expires: Math.floor(session.expires / 1000),
    data: session.data.latin1Slice(),
  });
}

async function drop(zone: SessionZone, request: CommandRequest, reply: CommandReply): Promise<void> {
  const id = idIn(request);
  const outcome = await new Promise<Outcome>((resolve) => {
    zone.store.change(id, { kind: "delete", base: undefined }, { onOutcome: resolve });
  });
  if (outcome.done) {
    await reply.line({ dropped: idText(id) });
    return;
  }
  if (outcome.refusal === "missing") throw missing(zone, id);
  const isFull = outcome.refusal === "full";
  throw unable(zone, isFull ? "there is no room for what its store is to be told" : "its store does not answer");
}

function unable({ settings }: SessionZone, why: string): CommandError {
  return new CommandError(`session zone "${settings.name}": ${why}`);
}
