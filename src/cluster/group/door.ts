import { type Address, addressText } from "../../net/address.ts";
import type { Listener } from "../../net/engine.ts";
import { engine } from "../../net/engines.ts";
import { IGNORE, type Stream, type StreamError, type StreamHandler } from "../../net/stream.ts";
import { defer } from "../../sys/guard.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";

/** A port that another process still has is tried again after so long, ms. */
const BIND_AGAIN_MS = 1000;

/** Whoever takes what comes in. */
export interface DoorOwner {
  accept(stream: Stream): StreamHandler;
  /** It cannot listen; the same error is not said twice. */
  cannotListen(error: StreamError): void;
}

/** Where a node's checker listens for the others. It stays open from one configuration to the next. */
export class Door {
  readonly #address: Address;
  #owner: DoorOwner | undefined;
  #listener: Listener | undefined;
  #again: Timer | undefined;
  #error = "";
  #closed = false;
  /** Tells who has left it last that it was closed. */
  #left: (() => void) | undefined;

  constructor(address: Address, owner: DoorOwner) {
    this.#address = address;
    this.#owner = owner;
    this.#listen();
  }

  /** `owner` takes what comes from now on. False where it is closed, or at another address. */
  pass(address: Address, owner: DoorOwner): boolean {
    if (this.#closed || addressText(address) !== addressText(this.#address)) return false;
    this.#owner = owner;
    return true;
  }

  /** It is closed, unless somebody else takes it in this turn. `closed` is called then. */
  leave(closed: () => void): void {
    this.#owner = undefined;
    this.#left = closed;
    defer(closeUnowned, this);
  }

  closeUnowned(): void {
    if (this.#owner !== undefined) return;
    this.#closed = true;
    this.#again?.clear();
    this.#listener?.close();
    this.#left?.();
  }

  #listen(): void {
    engine()
      .listen(
        { address: this.#address, reusePort: true },
        (stream) => this.#accept(stream),
        () => {},
      )
      .then(
        (listener) => {
          this.#error = "";
          if (this.#closed) listener.close();
          else this.#listener = listener;
        },
        (error: StreamError) => {
          if (this.#closed) return;
          if (error.message !== this.#error) this.#owner?.cannotListen(error);
          this.#error = error.message;
          this.#again = startTimer(BIND_AGAIN_MS, () => this.#listen(), { background: true });
        },
      );
  }

  #accept(stream: Stream): StreamHandler {
    if (this.#owner !== undefined) return this.#owner.accept(stream);
    stream.destroy();
    return IGNORE;
  }
}

function closeUnowned(door: Door): void {
  door.closeUnowned();
}
