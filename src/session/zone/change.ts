import { type JsonObject, mergePatch, type Stamps } from "./merge.ts";
import { makeSession, movedSession, type StoredSession } from "./stored_session.ts";

/** What is done to a session, and what comes of it: the rules, whatever store keeps it. */

export type Change =
  /** A JSON merge patch that was made from version `base` (0: there was none); `made`: when, for each member. */
  | {
      readonly kind: "patch";
      readonly patch: JsonObject;
      readonly base: number;
      readonly rule: Rule;
      readonly made?: Stamps;
    }
  /** All of its data. `item`: where that is an item of memcached's, whose size is bounded elsewhere. */
  | {
      readonly kind: "replace";
      readonly data: JsonObject;
      readonly base: number | undefined;
      readonly item?: ItemTerms;
    }
  | { readonly kind: "delete"; readonly base: number | undefined }
  /** It goes on under another id, with a patch. */
  | { readonly kind: "renew"; readonly to: Buffer; readonly patch: JsonObject; readonly base: number }
  /** It was used: its time begins anew. */
  | { readonly kind: "touch" };

/** When an item ends, wall-clock ms. */
export interface ItemTerms {
  readonly ends: number;
}

/**
 * What becomes of members that were changed since `base`: the newer value stays, or the whole patch is refused; "exact": it is
 * refused whatever was changed.
 */
export type Rule = "merge" | "strict" | "exact";

export type Refusal =
  /** There is no such session. */
  | "missing"
  /** It was renewed: only who renewed it learns under which id it goes on. */
  | "moved"
  /** It is another version than the one that the change is based on. */
  | "conflict"
  /** Its data would be larger than a session may be. */
  | "too large"
  /** The zone has no room. */
  | "full"
  /** The store does not answer. */
  | "unavailable";

export type Outcome =
  | {
      readonly done: true;
      /** What it is now; undefined where it was deleted. */
      readonly session: StoredSession | undefined;
      /** Members that kept the value of another, later change. */
      readonly conflicts: readonly string[];
    }
  | { readonly done: false; readonly refusal: Refusal; readonly session: StoredSession | undefined };

export interface SessionLimits {
  /** How long a session lasts that nobody uses, ms. */
  readonly timeout: number;
  /** Bytes of a session's data. */
  readonly maxSize: number;
}

/** What a store is to write. */
export interface Applied {
  readonly outcome: Outcome;
  /** Under the session's own id: "keep" it, "remove" it, or this in its place. */
  readonly own: StoredSession | "keep" | "remove";
  /** Under the id of a renewed session. */
  readonly renewed?: { readonly id: Buffer; readonly session: StoredSession };
}

/** What a renewal comes to under an id that was renewed before: it must not give the new session's id to who knows the old one. */
export const MOVED: Outcome = { done: false, refusal: "moved", session: undefined };

const NO_STAMPS: ReadonlyMap<string, number> = new Map();
/** For how long those that began before a session was renewed may still change it under the old id, ms. */
const MOVED_FOR = 60_000;

/**
 * Decides what becomes of a session (`current`: undefined where there is none, or where its time is over). `now`: wall-clock ms. `passed`:
 * a version that what is over had; the next one is later, though another node's clock made it.
 */
export function applyChange(
  current: StoredSession | undefined,
  change: Change,
  { timeout, maxSize }: SessionLimits,
  now: number,
  passed = 0,
): Applied {
  const expires = now + timeout;
  if (change.kind === "touch") {
    if (current === undefined) return refused("missing", current);
    const touched = current.until(Math.max(current.expires, expires));
    return { outcome: { done: true, session: touched, conflicts: [] }, own: touched };
  }
  if (change.kind === "delete") {
    if (current === undefined) return refused("missing", current);
    if (change.base !== undefined && change.base !== current.version) return refused("conflict", current);
    return { outcome: { done: true, session: undefined, conflicts: [] }, own: "remove" };
  }
  const version = Math.max(now, (current?.version ?? passed) + 1);
  if (change.kind === "replace") {
    if (change.base !== undefined && change.base !== (current?.version ?? 0)) return refused("conflict", current);
    return write(change.data, { floor: version, at: NO_STAMPS }, [], change.item);
  }
  if (change.kind === "patch" && change.rule === "exact" && change.base !== (current?.version ?? 0)) {
    return refused("conflict", current);
  }
  // The session that the patch was made for is over: with it went what the others know nothing of.
  if (current === undefined && change.base !== 0) return refused("missing", current);
  const merged = mergePatch(
    current?.members ?? {},
    current?.stamps ?? { floor: 0, at: NO_STAMPS },
    change.patch,
    change.base,
    version,
    change.kind === "patch" ? change.made : undefined,
  );
  if (change.kind === "patch" && change.rule === "strict" && merged.conflicts.length > 0) {
    return refused("conflict", current);
  }
  const stamps = current === undefined ? { floor: version, at: NO_STAMPS } : merged.stamps;
  const written = write(merged.data, stamps, merged.conflicts);
  if (change.kind === "patch" || !written.outcome.done || written.outcome.session === undefined) return written;
  const { session } = written.outcome;
  return {
    outcome: written.outcome,
    own: current === undefined ? "remove" : movedSession(change.to, version, now + MOVED_FOR),
    renewed: { id: change.to, session },
  };

  function write(data: JsonObject, stamps: Stamps, conflicts: readonly string[], item?: ItemTerms): Applied {
    const text = JSON.stringify(data);
    const length = Buffer.byteLength(text);
    if (item === undefined && length > maxSize) return refused("too large", current);
    const contents = {
      version,
      created: current?.created ?? version,
      expires: item?.ends ?? expires,
      data: text,
      stamps,
      isItem: item !== undefined,
    };
    const session = makeSession(contents, length);
    return { outcome: { done: true, session, conflicts }, own: session };
  }
}

function refused(refusal: Refusal, session: StoredSession | undefined): Applied {
  return { outcome: { done: false, refusal, session }, own: "keep" };
}
