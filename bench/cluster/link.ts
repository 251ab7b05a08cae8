import type { Connect } from "../../src/health/check_connection.ts";
import type { Address } from "../../src/net/address.ts";
import type { ConnectHandler, Stream, StreamHandler } from "../../src/net/stream.ts";
import type { World } from "./world.ts";

const SOMETHING = Buffer.from("x");
const REFUSED = { code: "ECONNREFUSED", message: "111: Connection refused" };

/** Who is at the other end of connections. */
export interface Far {
  /** It takes connections; else it refuses them. */
  accepts(): boolean;
  /** It was sent something: `reply` sends something back. */
  asked(reply: () => void): void;
}

/** A connection of the simulation: that bytes were sent is all that it carries. */
class Link implements Stream {
  handler: StreamHandler;
  readonly remote: Address;
  readonly local: Address;
  readonly sending = false;
  readonly unsent = 0;
  closed = false;
  readonly #world: World;
  readonly #far: Far;

  constructor(world: World, far: Far, address: Address, handler: ConnectHandler) {
    this.#world = world;
    this.#far = far;
    this.handler = handler;
    this.remote = address;
    this.local = address;
    world.send(() =>
      world.send(() => {
        if (this.closed) return;
        if (far.accepts()) handler.onConnect(this);
        else {
          this.closed = true;
          handler.onClose(this, REFUSED);
        }
      }),
    );
  }

  write(): boolean {
    this.#world.send(() => {
      if (this.closed || !this.#far.accepts()) return;
      this.#far.asked(() =>
        this.#world.send(() => {
          if (!this.closed) this.handler.onData(this, SOMETHING);
        }),
      );
    });
    return true;
  }

  destroy(): void {
    this.closed = true;
  }

  cork(): void {}
  uncork(): boolean {
    return true;
  }
  pause(): void {}
  resume(): void {}
  end(): void {}
  setNoDelay(): void {}
  setKeepAlive(): void {}
}

/** `connect` for the scheduler: `farOf` finds who is at an address. */
export function connectIn(world: World, farOf: (address: Address) => Far): Connect {
  return ({ address }, handler) => new Link(world, farOf(address), address, handler);
}
