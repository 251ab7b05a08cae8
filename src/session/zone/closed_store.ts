import type { Change } from "./change.ts";
import type { SessionChanger, SessionReader, SessionStore } from "./store.ts";

/** Stands for a store that could not be opened. */
export class ClosedStore implements SessionStore {
  read(_id: Buffer, reader: SessionReader): void {
    reader.onSession(undefined, true);
  }

  change(_id: Buffer, _change: Change, changer: SessionChanger): void {
    changer.onOutcome({ done: false, refusal: "unavailable", session: undefined });
  }
}
