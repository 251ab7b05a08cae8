import type { Records } from "./records.ts";
import { SessionCopies } from "./session_copies.ts";
import { readSession, type StoredSession } from "./stored_session.ts";

/**
 * The sessions among a zone's records. As long as nobody else has written to the zone, what this process has read or written last is
 * what there is, and needs no question to LMDB.
 */
export class SessionRecords {
  readonly #records: Records;
  readonly #copies = new SessionCopies();

  constructor(records: Records) {
    this.#records = records;
  }

  /** What all processes have written by now. */
  read(id: Buffer): StoredSession | undefined {
    const { epoch } = this.#records;
    const copy = this.#copies.find(id, epoch);
    if (copy !== undefined) return readSession(copy);
    this.#records.refresh();
    return this.#read(id, epoch);
  }

  /** The same within `Records.write` or `writeThrough`, with what they have written. */
  current(id: Buffer): StoredSession | undefined {
    const { writing, epoch } = this.#records;
    // What `writeThrough` has written so far is nobody's yet.
    if (!writing) return readSession(this.#records.get("session", id));
    const copy = this.#copies.find(id, epoch);
    return copy === undefined ? this.#read(id, epoch) : readSession(copy);
  }

  #read(id: Buffer, epoch: number): StoredSession | undefined {
    const bytes = this.#records.get("session", id);
    if (bytes !== undefined) this.#copies.keep(id, bytes, epoch);
    return readSession(bytes);
  }

  /** Within a transaction. `before`: what it takes the place of. */
  put(id: Buffer, session: StoredSession, before: StoredSession | undefined): void {
    this.#records.put("session", id, session.bytes, session.expires, before?.expires);
    if (this.#records.writing) this.#copies.keep(id, session.bytes, this.#records.epoch);
  }

  /** Within a transaction. */
  remove(id: Buffer, session: StoredSession): void {
    this.#records.remove("session", id, session.expires);
    if (this.#records.writing) this.#copies.drop(id);
  }
}
