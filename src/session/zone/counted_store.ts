import type { Change, Outcome } from "./change.ts";
import type { SessionChanger, SessionReader, SessionStore } from "./store.ts";
import type { ZoneCounters } from "./zone_counters.ts";

/** Counts what a store is asked, and what comes of it. */
export class CountedStore implements SessionStore {
  readonly #store: SessionStore;
  readonly #counters: ZoneCounters;

  constructor(store: SessionStore, counters: ZoneCounters) {
    this.#store = store;
    this.#counters = counters;
  }

  read(id: Buffer, reader: SessionReader): void {
    this.#counters.add("reads", 1);
    this.#store.read(id, reader);
  }

  change(id: Buffer, change: Change, changer: SessionChanger): void {
    this.#store.change(id, change, new Counted(this.#counters, change, changer));
  }
}

class Counted implements SessionChanger {
  readonly #counters: ZoneCounters;
  readonly #change: Change;
  readonly #changer: SessionChanger;

  constructor(counters: ZoneCounters, change: Change, changer: SessionChanger) {
    this.#counters = counters;
    this.#change = change;
    this.#changer = changer;
  }

  onOutcome(outcome: Outcome): void {
    this.#counters.changed(this.#change, outcome);
    this.#changer.onOutcome(outcome);
  }
}
