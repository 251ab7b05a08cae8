import { guarded } from "../../sys/guard.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import type { Matrix } from "../matrix.ts";
import { parsed, type Snapshot } from "../snapshot.ts";
import { matrixJson } from "../status/format.ts";
import { type Events, eventsAfter } from "./event_log.ts";

/** How often a worker that has listeners looks for changes, ms. */
const LOOK_MS = 100;
/** A comment is sent where nothing was for so long, so that both sides notice when the other is gone, ms. */
const HEARTBEAT_MS = 15_000;
/** Listeners of a worker at a time. */
const MOST_LISTENERS = 256;

/** A client that is told of changes. */
export interface Listener {
  /** The epoch and number of the last event that it has; "" and 0: none. */
  epoch: string;
  number: number;
  /** It takes no more for now: it is told of what it missed when it does. */
  readonly blocked: boolean;
  send(text: string): void;
  end(): void;
}

/** Tells clients of this worker what has changed in the group, under one configuration. */
export class EventHub {
  readonly #snapshot: Snapshot;
  readonly #events: Snapshot;
  readonly #listeners = new Set<Listener>();
  #timer: Timer | undefined = undefined;
  #sequence = 0;
  #quiet = 0;
  #known: Events | undefined = undefined;
  /** The matrix as it was last sent: many clients may need it at once. */
  #matrix: Matrix | undefined = undefined;
  #json = "";
  #ended = false;

  constructor(snapshot: Snapshot, events: Snapshot) {
    this.#snapshot = snapshot;
    this.#events = events;
  }

  get full(): boolean {
    return this.#ended || this.#listeners.size >= MOST_LISTENERS;
  }

  add(listener: Listener): void {
    this.#listeners.add(listener);
    this.#read();
    this.catchUp(listener);
    this.#timer ??= startTimer(LOOK_MS, this.#look, { background: true });
  }

  delete(listener: Listener): void {
    this.#listeners.delete(listener);
  }

  /** Tells it what it does not know yet. */
  catchUp(listener: Listener): void {
    const events = this.#known;
    if (events === undefined || listener.blocked) return;
    const { epoch, last } = events;
    if (listener.epoch === epoch && listener.number === last) return;
    const missed = listener.epoch === epoch ? eventsAfter(events, listener.number) : undefined;
    const text = missed?.map(({ number, name, data }) => eventText(`${epoch}-${number}`, name, data)).join("");
    const sent = text ?? this.#whole(epoch, last);
    if (sent === undefined) return;
    listener.epoch = epoch;
    listener.number = last;
    listener.send(sent);
  }

  #whole(epoch: string, last: number): string | undefined {
    const matrix = this.#snapshot.matrix();
    if (matrix === undefined) return undefined;
    if (matrix !== this.#matrix) this.#json = matrixJson(matrix);
    this.#matrix = matrix;
    return eventText(`${epoch}-${last}`, "matrix", this.#json);
  }

  /** No request comes here any more: clients come back to the configuration that is in force. */
  end(): void {
    this.#ended = true;
    this.#timer?.clear();
    for (const listener of [...this.#listeners]) guarded(endOf, listener);
  }

  readonly #look = (): void => {
    this.#timer = undefined;
    if (this.#listeners.size === 0) return;
    this.#timer = startTimer(LOOK_MS, this.#look, { background: true });
    this.#quiet += LOOK_MS;
    const beats = this.#quiet >= HEARTBEAT_MS;
    if (!this.#read() && !beats) return;
    this.#quiet = 0;
    for (const listener of [...this.#listeners]) guarded(beats ? this.#beat : this.#tell, listener);
  };

  readonly #tell = (listener: Listener): void => this.catchUp(listener);

  readonly #beat = (listener: Listener): void => {
    this.catchUp(listener);
    if (!listener.blocked) listener.send(":\n\n");
  };

  /** Returns whether there is news. */
  #read(): boolean {
    const { sequence } = this.#events;
    if (sequence === this.#sequence && this.#known !== undefined) return false;
    const bytes = this.#events.read();
    if (bytes === undefined) return false;
    const known = parsed<Events>(bytes);
    if (known === undefined) return false;
    this.#sequence = sequence;
    this.#known = known;
    return true;
  }
}

function endOf(listener: Listener): void {
  listener.end();
}

function eventText(id: string, name: string, data: string): string {
  return `id: ${id}\nevent: ${name}\ndata: ${data}\n\n`;
}
