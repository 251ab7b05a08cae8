import type { Address } from "../net/address.ts";
import type { ConnectOptions } from "../net/engine.ts";
import type { ConnectHandler, Stream, StreamError } from "../net/stream.ts";
import { startTls, type TlsClientSettings } from "../net/tls/client.ts";
import { logFault } from "../sys/guard.ts";
import { PASS, type Probe, type Verdict } from "./probe.ts";

/** How a check ended. `local`: this machine failed (no file descriptors, say), which says nothing about the server. */
export type Done = (verdict: Verdict, local: boolean) => void;

export type Connect = (options: ConnectOptions, handler: ConnectHandler) => Stream;

/** Errors of connect() caused by this machine. */
const LOCAL = new Set(["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRNOTAVAIL"]);
/** Bytes that may be read after the verdict to make the connection reusable. */
const MAX_REST = 1024 * 1024;

/**
 * Runs a server's checks, one at a time, over a connection of its own, which it keeps for the next check where
 * `requests` (check_keepalive_requests) and `time` (keepalive_time, ms; 0: no bound) allow it.
 */
export class CheckConnection implements ConnectHandler {
  private readonly target: Address;
  private readonly probe: Probe;
  private readonly connect: Connect;
  private readonly tls: TlsClientSettings | undefined;
  private readonly done: Done;
  private readonly requests: number;
  private readonly time: number;
  private stream: Stream | undefined = undefined;
  /** A check is under way. */
  private running = false;
  private connected = false;
  /** TLS is being agreed on. */
  private shakingHands = false;
  /** The check under way runs over a connection that has served another, and nothing was received yet. */
  private reused = false;
  private served = 0;
  private opened = 0;
  private excess = 0;

  constructor(
    target: Address,
    probe: Probe,
    keep: { readonly requests: number; readonly time: number },
    { connect, tls }: { readonly connect: Connect; readonly tls: TlsClientSettings | undefined },
    done: Done,
  ) {
    this.target = target;
    this.probe = probe;
    this.requests = keep.requests;
    this.time = keep.time;
    this.connect = connect;
    this.tls = tls;
    this.done = done;
  }

  /** Starts a check. `done` is called once, unless `abort` comes first. */
  start(): void {
    this.running = true;
    this.excess = 0;
    if (this.stream !== undefined) {
      const fresh = this.time === 0 || performance.now() - this.opened < this.time;
      if (fresh && this.probe.reusable && !this.stream.closed) {
        this.probe.begin();
        this.reused = true;
        this.ask(this.stream);
        return;
      }
      this.close();
    }
    this.open();
  }

  /** Aborts the check (timeout), without calling `done`. */
  abort(): string {
    const stage = this.stage();
    this.running = false;
    this.close();
    return stage;
  }

  /** What a failure comes from, if not from the check itself. */
  private stage(): string {
    if (this.connected) return "";
    return this.shakingHands ? "handshake: " : "connect: ";
  }

  /** Ends everything. */
  close(): void {
    this.running = false;
    this.drop();
  }

  private drop(): void {
    const stream = this.stream;
    this.stream = undefined;
    this.connected = false;
    this.shakingHands = false;
    stream?.destroy();
  }

  private open(): void {
    this.probe.begin();
    this.reused = false;
    this.connected = false;
    this.shakingHands = false;
    this.served = 0;
    this.running = true;
    this.stream = this.connect({ address: this.target }, this);
  }

  private ask(stream: Stream): void {
    this.served++;
    const { send } = this.probe;
    if (send !== undefined) stream.write(send);
  }

  private finish(verdict: Verdict): void {
    this.running = false;
    if (!this.mayKeep() || verdict !== PASS || !(this.probe.reusable || this.probe.unfinished)) this.drop();
    this.done(verdict, false);
  }

  private mayKeep(): boolean {
    return this.served > 0 && (this.time > 0 || this.served < this.requests);
  }

  onConnect(stream: Stream): void {
    if (stream !== this.stream) return;
    const tls = this.shakingHands ? undefined : this.probe.tls === undefined ? this.tls : this.probe.tls();
    if (tls !== undefined) {
      this.secure(stream, tls);
      return;
    }
    this.shakingHands = false;
    this.connected = true;
    this.opened = performance.now();
    const verdict = this.probe.connected();
    if (verdict !== undefined) this.finish(verdict);
    else this.ask(stream);
  }

  /** `onConnect` follows again, with the stream over TLS. */
  private secure(stream: Stream, tls: TlsClientSettings): void {
    const secured = startTls(stream, tls, this);
    if (typeof secured === "string") {
      this.finish(secured);
      return;
    }
    this.shakingHands = true;
    this.stream = secured;
  }

  onData(stream: Stream, bytes: Buffer): void {
    if (stream !== this.stream) return;
    this.reused = false;
    if (!this.running) {
      // After the verdict: the rest of the answer, or unsolicited bytes.
      this.excess += bytes.length;
      if (this.probe.reusable || this.excess > MAX_REST || this.probe.data(bytes)) this.drop();
      else if (!this.probe.reusable && !this.probe.unfinished) this.drop();
      return;
    }
    const verdict = this.probe.data(bytes);
    if (verdict !== undefined) this.finish(verdict);
  }

  onDrain(): void {}

  onEnd(stream: Stream): void {
    if (stream !== this.stream) return;
    if (this.running && !this.retry()) this.finish(this.probe.end());
    else if (!this.running) this.drop();
  }

  onClose(stream: Stream, error: StreamError | undefined): void {
    if (stream !== this.stream) return;
    this.stream = undefined;
    if (!this.running || this.retry()) return;
    this.running = false;
    if (error === undefined) this.done(this.probe.end(), false);
    else this.done(this.stage() + lower(error), !this.connected && LOCAL.has(error.code));
  }

  onFault(error: unknown): void {
    logFault(error, " while checking");
    const { running } = this;
    this.close();
    if (running) this.done(`exception: ${error instanceof Error ? error.message : String(error)}`, false);
  }

  /** The server may close an idle connection at any time: not a failure, the check is repeated on a new one. */
  private retry(): boolean {
    if (!this.reused) return false;
    this.drop();
    this.open();
    return true;
  }
}

/** `111: Connection refused` → `connection refused`. */
function lower(error: StreamError): string {
  if (error.sentence !== undefined) return error.sentence;
  const text = error.message.replace(/^\d+: /, "");
  return text.charAt(0).toLowerCase() + text.slice(1);
}
