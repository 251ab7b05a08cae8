import type { CheckerService } from "../../runtime/application.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import type { Change, Outcome, SessionLimits } from "./change.ts";
import type { Environment } from "./environment.ts";
import type { Records } from "./records.ts";
import type { StoredSession } from "./stored_session.ts";
import type { ZoneCounters } from "./zone_counters.ts";

/** Who asked for a session. */
export interface SessionReader {
  /** What there is under the id; undefined for nothing. `unknown`: the store does not answer, so there may be something. */
  onSession(session: StoredSession | undefined, unknown: boolean): void;
}

/** Who changed a session. */
export interface SessionChanger {
  onOutcome(outcome: Outcome): void;
}

/** Where the sessions of a zone are. Nothing here waits for a disk or a peer; answers come at once or in a later event. */
export interface SessionStore {
  read(id: Buffer, reader: SessionReader): void;
  /** The outcome comes when the change is as durable as `session_durability` says. */
  change(id: Buffer, change: Change, changer: SessionChanger): void;
}

/** What of a zone is on this machine: for the store of a group it is the local copy. */
export interface LocalZone {
  readonly name: string;
  readonly limits: SessionLimits;
  readonly environment: Environment;
  readonly records: Records;
  /** Changes are confirmed when the disk has them (`session_durability sync`). */
  readonly sync: boolean;
  readonly log: ErrorLog;
  readonly counters: ZoneCounters;
  /** Logs what could not be done, once in a while however often it happens. */
  trouble(doing: string, error: unknown): void;
}

/** What a node is still to tell the store of its group. */
export interface WaitingSessions {
  /** How many there are, and what they take of how many bytes. */
  readonly usage: { readonly sessions: number; readonly bytes: number; readonly size: number };
  has(id: Buffer): boolean;
  /** A session as it is here; undefined where the store knows it, or where it is only known to be over. */
  living(id: Buffer, now: number): StoredSession | undefined;
  /** The ids of some, in no order that means anything, beginning behind one. */
  ids(most: number, after: Buffer | undefined): Buffer[];
}

/** The store of a group of nodes (`store=`). */
export interface Group {
  /** Where its store is, without secrets. */
  readonly text: string;
  waiting(local: LocalZone): WaitingSessions;
  /** Opens it in a process that uses the zone. */
  open(local: LocalZone): SessionStore;
  /** The keys that all nodes know, the one that signs first; undefined: nothing is known of them yet. */
  keys(local: LocalZone): readonly Buffer[] | undefined;
  /** In the checker: has it told what it could not be told when it was to be. */
  keep(local: LocalZone): CheckerService;
}
