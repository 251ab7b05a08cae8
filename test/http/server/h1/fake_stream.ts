import type { Address } from "../../../../src/net/address.ts";
import type { Stream, StreamHandler } from "../../../../src/net/stream.ts";

const REMOTE: Address = { family: "ipv4", host: "192.0.2.1", port: 1 };
const LOCAL: Address = { family: "ipv4", host: "127.0.0.1", port: 1 };

/** A stream of the test's own: it says what the client does, and keeps what was written. */
export class FakeStream implements Stream {
  handler: StreamHandler = { onData() {}, onDrain() {}, onEnd() {}, onClose() {} };
  readonly remote = REMOTE;
  readonly local = LOCAL;
  queued = 0;
  room = true;
  /** As a stream of an engine that sends asynchronously: `write` returns true while it is sending. */
  asynchronous = false;
  closed = false;
  paused = false;
  ended = false;
  written = "";

  write(data: Uint8Array | string): boolean {
    this.written += typeof data === "string" ? data : Buffer.from(data).toString("latin1");
    return this.room && (this.asynchronous || this.queued === 0);
  }
  cork(): void {}
  uncork(): boolean {
    return this.room && (this.asynchronous || this.queued === 0);
  }
  get sending(): boolean {
    return this.queued > 0;
  }
  get unsent(): number {
    return this.queued;
  }
  /** The kernel takes what is queued. */
  drain(): void {
    this.queued = 0;
    if (!this.asynchronous) this.handler.onDrain(this);
    this.handler.onSent?.(this);
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  end(): void {
    this.ended = true;
  }
  destroy(): void {
    if (this.closed) return;
    this.closed = true;
    this.handler.onClose(this, undefined);
  }
  setNoDelay(): void {}
  setKeepAlive(): void {}
}
