import { startTimer, type Timer } from "../sys/timers.ts";
import { type Client, destroy, openClient } from "./client.ts";
import type { RedisDefinition } from "./definition.ts";

/** A channel that could not be subscribed to is tried again after so long, ms. */
const AGAIN_MS = 1000;

/** A channel of a Redis, over a connection of its own. A connection that breaks is made anew; what is published meanwhile passes by. */
export class Subscriber {
  readonly #definition: RedisDefinition;
  readonly #channel: string;
  readonly #onMessage: (message: Buffer) => void;
  #client: Client | undefined;
  #timer: Timer | undefined;
  #stopped = false;
  #subscribed = false;

  /** `onMessage` must not throw. */
  constructor(definition: RedisDefinition, channel: string, onMessage: (message: Buffer) => void) {
    this.#definition = definition;
    this.#channel = channel;
    this.#onMessage = onMessage;
    this.#open();
  }

  /** It was subscribed to, and what is published comes unless the connection is broken. */
  get open(): boolean {
    return this.#subscribed;
  }

  /** Subscribes over another connection: this one is silent. */
  renew(): void {
    if (!this.#stopped) this.#open();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.clear();
    destroy(this.#client);
  }

  #open(): void {
    this.#timer?.clear();
    destroy(this.#client);
    // What is wrong with the store is known from the link to it.
    const client = openClient(this.#definition, () => {});
    this.#client = client;
    this.#subscribed = false;
    const onMessage = (message: Buffer): void => {
      if (client === this.#client && !this.#stopped) this.#onMessage(message);
    };
    client
      .connect()
      .then(() => client.subscribe(this.#channel, onMessage))
      .then(() => {
        if (client === this.#client) this.#subscribed = true;
      })
      .catch(() => {
        if (client === this.#client && !this.#stopped)
          this.#timer = startTimer(AGAIN_MS, () => this.#open(), { background: true });
      });
  }
}
