import { applyChange, type SessionLimits } from "../zone/change.ts";
import { changedAt, isObject, type Json, type JsonObject } from "../zone/merge.ts";
import { movedSession, type StoredSession } from "../zone/stored_session.ts";
import type { Unsent } from "./queue.ts";
import { deletedMark, isLiving } from "./remote.ts";

/** What the store is to have after it was away: what it has, and what was changed without it, become one. */

/** The store is to have this. "drop": what was changed is no use any more, what the store has stays. */
export type Reconciled = StoredSession | "drop" | "too large";

/**
 * Of two changes of the same member the later one stays, whichever the store was told first: one that a process had sent when it died may
 * arrive at any time. `there`: what the store has under the id of the session, or had under the one that it was renewed
 * from.
 */
export function reconcile(
  { base, tried, current }: Unsent,
  there: StoredSession | undefined,
  limits: SessionLimits,
  now: number,
): Reconciled {
  const version = there?.version ?? 0;
  if (current.expires <= now || isMark(current)) {
    if (isMark(current)) return remark(current, there, version, now);
    const replaced = current.isItem && isLiving(there, now) && version < current.version;
    return replaced ? deletedMark(Math.max(current.version, version + 1)) : "drop";
  }
  // Nobody else has changed it, or the store has lost what it had: what is here is all there is.
  if (there === undefined || version <= (base?.version ?? 0)) return current;
  // Two processes may have made different changes in the same millisecond.
  if (version === tried && isFrom(there, current)) return current;
  if (version === current.version && isSame(there, current)) return there;
  // There is nothing to merge in an item: the later one stays, also where the other one was deleted.
  if (current.isItem && (isLiving(there, now) || isMark(there))) return current.version > version ? current : "drop";
  if (!isLiving(there, now)) return isMark(there) ? "drop" : current;
  const changed = difference(base?.members ?? {}, current.members);
  const patch = base === undefined ? unknownTo(there.members, changed) : changed;
  const { outcome } = applyChange(
    there,
    { kind: "patch", patch, base: base?.version ?? version, rule: "merge", made: current.stamps },
    limits,
    now,
  );
  if (!outcome.done) return "too large";
  return outcome.session ?? "drop";
}

/** What was done to a session from `from` to `to`, done to `onto`. */
export function rebase(
  from: StoredSession,
  to: StoredSession,
  onto: StoredSession,
  limits: SessionLimits,
  now: number,
): StoredSession {
  if (!isLiving(to, now) || !isLiving(onto, now) || from.bytes.equals(onto.bytes)) return to;
  if (to.isItem) return to.version > onto.version ? to : onto;
  const patch = difference(isLiving(from, now) ? from.members : {}, to.members);
  const { outcome } = applyChange(onto, { kind: "patch", patch, base: onto.version, rule: "merge" }, limits, now);
  return (outcome.done && outcome.session) || to;
}

/** Whether it stands for a session that was deleted or renewed. */
export function isMark(session: StoredSession): boolean {
  return session.movedTo !== undefined || session.expires === 0;
}

/** Whether `later` has grown out of `tried`: it knows of what was changed there last. */
function isFrom(tried: StoredSession, later: StoredSession): boolean {
  const { version } = tried;
  if (version === later.version) return isSame(tried, later);
  const { stamps } = later;
  // As a whole.
  if (stamps.floor >= version || tried.stamps.floor >= version) return stamps.floor >= version;
  for (const [path, at] of tried.stamps.at) if (at === version && changedAt(stamps, path) < version) return false;
  return true;
}

/** Whether it is the same change of the same session: when it ends was changed by using it. */
function isSame(one: StoredSession, other: StoredSession): boolean {
  return one.until(0).bytes.equals(other.until(0).bytes);
}

/** A session that was deleted or renewed here is so, whatever others have done to it; an item, unless it is a later one. */
function remark(
  mark: StoredSession,
  there: StoredSession | undefined,
  version: number,
  now: number,
): StoredSession | "drop" {
  if (there !== undefined && (isMark(there) || (there.isItem && version > mark.version))) return "drop";
  const newer = Math.max(mark.version, version + 1);
  const to = mark.movedTo;
  return to === undefined ? deletedMark(newer) : movedSession(to, newer, Math.max(mark.expires, now));
}

/** The merge patch that makes `to` of `from`. */
function difference(from: JsonObject, to: JsonObject): JsonObject {
  const patch: Record<string, Json> = Object.create(null);
  for (const name of Object.keys(to)) {
    const value = to[name];
    const before = Object.hasOwn(from, name) ? from[name] : undefined;
    if (isObject(value) && isObject(before)) {
      const inner = difference(before, value);
      if (Object.keys(inner).length > 0) patch[name] = inner;
    } else if (before === undefined || JSON.stringify(before) !== JSON.stringify(value)) patch[name] = value;
  }
  for (const name of Object.keys(from)) if (!Object.hasOwn(to, name)) patch[name] = null;
  return patch;
}

/** Of a patch, what adds members that there are not. */
function unknownTo(data: JsonObject, patch: JsonObject): JsonObject {
  const unknown: Record<string, Json> = Object.create(null);
  for (const name of Object.keys(patch)) {
    const value = patch[name];
    const before = Object.hasOwn(data, name) ? data[name] : undefined;
    if (before === undefined) unknown[name] = value;
    else if (isObject(value) && isObject(before)) unknown[name] = unknownTo(before, value);
  }
  return unknown;
}
