import type { Change, Outcome } from "./change.ts";
import type { StoredSession } from "./stored_session.ts";

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
