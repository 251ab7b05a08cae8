import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import tls from "node:tls";
import type { Address } from "../../../src/net/address.ts";
import type { Engine } from "../../../src/net/engine.ts";
import type { ConnectHandler, Stream, StreamError, StreamHandler } from "../../../src/net/stream.ts";
import { logFaultsTo } from "../../../src/sys/guard.ts";
import type { TestCertificate } from "../../support/certificates.ts";
import { freePort } from "../../support/ports.ts";
import { PATIENCE_MS, waitFor } from "../../support/wait.ts";

/** What the engine logged of exceptions, since the last `faults.length = 0`. */
export const faults: string[] = [];
logFaultsTo({ write: (level, message) => faults.push(`[${level}] ${message}`) });

/** A call into a stream is under way: no event may come meanwhile. */
let calling = false;

/** Calls into a stream, and sees whether an event comes from within. */
export function call<T>(into: () => T): T {
  calling = true;
  try {
    return into();
  } finally {
    calling = false;
  }
}

/** A handler that keeps what it hears; `own` is called as well. It listens for `onPeerClosed` where `own` does. */
export interface Recorder extends ConnectHandler {
  /** In order: connect, data (however many in a row), drain, sent, end, peer closed, close. */
  readonly events: string[];
  readonly pieces: Buffer[];
  error: StreamError | undefined;
}

export function recorder(own: Partial<ConnectHandler> = {}): Recorder {
  const events: string[] = [];
  const note = (event: string): void => {
    const heard = calling ? `${event} within a call` : event;
    if (events.at(-1) !== heard || heard !== "data") events.push(heard);
  };
  const heard: Recorder = {
    events,
    pieces: [],
    error: undefined,
    onConnect(stream) {
      note("connect");
      own.onConnect?.(stream);
    },
    onData(stream, bytes) {
      note("data");
      heard.pieces.push(Buffer.from(bytes));
      own.onData?.(stream, bytes);
    },
    onDrain(stream) {
      note("drain");
      own.onDrain?.(stream);
    },
    onSent(stream) {
      note("sent");
      own.onSent?.(stream);
    },
    onEnd(stream) {
      note("end");
      own.onEnd?.(stream);
    },
    onClose(stream, error) {
      note("close");
      heard.error = error;
      own.onClose?.(stream, error);
    },
  };
  const { onPeerClosed } = own;
  if (onPeerClosed !== undefined) {
    heard.onPeerClosed = (stream) => {
      if (events.at(-1) !== "peer closed") note("peer closed");
      onPeerClosed(stream);
    };
  }
  return heard;
}

export function received({ pieces }: Recorder): string {
  return Buffer.concat(pieces).toString("latin1");
}

/** What a stream was made by, and over what. */
export interface Origin {
  readonly name: string;
  readonly unix: boolean;
  readonly connected: boolean;
}

export const ORIGINS: readonly Origin[] = [
  { name: "accepted, TCP", unix: false, connected: false },
  { name: "connected, TCP", unix: false, connected: true },
  { name: "accepted, unix", unix: true, connected: false },
  { name: "connected, unix", unix: true, connected: true },
];
export const TCP: readonly Origin[] = ORIGINS.filter(({ unix }) => !unix);

/** A stream of the engine, what its handler heard, and the socket of its peer, which reads nothing until told to. */
export interface Scene {
  readonly stream: Stream;
  readonly heard: Recorder;
  readonly peer: Peer;
}

/** The peers speak TLS: with this certificate where they are servers. */
let secure: TestCertificate | undefined;

export function speakTls(certificate: TestCertificate): void {
  secure = certificate;
}

/** What the peer writes to, and reads from; the socket itself where it does not speak TLS. */
function secured(raw: net.Socket, isServer: boolean): net.Socket {
  if (secure === undefined) return raw;
  const { certificate: cert, key } = secure;
  const socket = isServer
    ? new tls.TLSSocket(raw, { isServer, secureContext: tls.createSecureContext({ cert, key }) })
    : tls.connect({ socket: raw, rejectUnauthorized: false });
  // TLSSocket cannot.
  socket.resetAndDestroy = () => {
    raw.resetAndDestroy();
    return socket;
  };
  raw.on("error", () => {});
  return socket;
}

/** The other end, over node:net or node:tls whatever the engine. */
export class Peer {
  readonly socket: net.Socket;
  ended = false;
  closed = false;
  error: string | undefined;
  /** Its side of a TLS handshake is not complete. */
  shakingHands: boolean;
  readonly #pieces: Buffer[] = [];

  constructor(socket: net.Socket) {
    this.socket = socket;
    this.shakingHands = socket instanceof tls.TLSSocket;
    socket.once("secure", () => {
      this.shakingHands = false;
    });
    socket.pause();
    socket.on("data", (bytes: Buffer) => this.#pieces.push(bytes));
    socket.on("end", () => {
      this.ended = true;
    });
    socket.on("close", () => {
      this.closed = true;
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.error = error.code;
    });
  }

  get received(): string {
    return Buffer.concat(this.#pieces).toString("latin1");
  }

  read(): void {
    this.socket.resume();
  }

  /** Reads until as much has come, or all: then until the end. */
  async take(length = Number.POSITIVE_INFINITY): Promise<string> {
    this.read();
    const count = (): number => this.#pieces.reduce((sum, piece) => sum + piece.length, 0);
    await waitFor(() => this.ended || this.closed || count() >= length, `${length} bytes at the peer`, 4 * PATIENCE_MS);
    return this.received;
  }
}

export async function freeAddress(t: TestContext, unix: boolean): Promise<Address> {
  if (!unix) return { family: "ipv4", host: "127.0.0.1", port: await freePort() };
  const path = join(tmpdir(), `holdfast-contract-${process.pid}-${Math.random().toString(36).slice(2)}.sock`);
  t.after(() => rmSync(path, { force: true }));
  return { family: "unix", path };
}

export function target(address: Address): net.NetConnectOpts & net.ListenOptions {
  return address.family === "unix" ? { path: address.path } : { host: address.host, port: address.port };
}

/** The engine listens until the end of the test; each connection gets what `accept` answers. */
export async function listening(
  t: TestContext,
  engine: Engine,
  accept: (stream: Stream) => StreamHandler,
  unix = false,
): Promise<Address> {
  const address = await freeAddress(t, unix);
  const listener = await engine.listen({ address }, accept, (error) => faults.push(`accept: ${error.message}`));
  t.after(() => listener.close());
  return address;
}

/** A socket of the test's own, connected. */
export async function dial(t: TestContext, address: Address): Promise<Peer> {
  const socket = net.connect({ ...target(address), allowHalfOpen: true });
  t.after(() => socket.destroy());
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  return new Peer(secured(socket, false));
}

/** A listening socket of the test's own, and the peers that come to it. */
export async function serving(t: TestContext, unix = false): Promise<{ address: Address; next: () => Promise<Peer> }> {
  const address = await freeAddress(t, unix);
  const peers: Peer[] = [];
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    t.after(() => socket.destroy());
    peers.push(new Peer(secured(socket, true)));
  });
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.listen(target(address), resolve));
  return { address, next: () => waitFor(() => peers.shift(), "a connection") };
}

/** A connection of that origin. */
export async function scene(
  t: TestContext,
  engine: Engine,
  { unix, connected }: Origin,
  own: Partial<ConnectHandler> = {},
): Promise<Scene> {
  let ready = false;
  let stream: Stream | undefined;
  const heard = recorder({
    ...own,
    onSent: (sent) => void (ready && own.onSent?.(sent)),
    onConnect(made) {
      stream = made;
      own.onConnect?.(made);
    },
  });
  let peer: Peer;
  if (connected) {
    const server = await serving(t, unix);
    engine.connect({ address: server.address }, heard);
    peer = await server.next();
    await waitFor(() => heard.events.includes("connect"), "onConnect");
  } else {
    const address = await listening(
      t,
      engine,
      (accepted) => {
        stream = accepted;
        return heard;
      },
      unix,
    );
    peer = await dial(t, address);
    await waitFor(() => stream !== undefined, "an accepted stream");
  }
  assert.ok(stream !== undefined);
  const made = stream;
  t.after(() => made.destroy());
  // Of a handshake.
  await waitFor(() => !made.sending, "the end of sending");
  await waitFor(() => !peer.shakingHands, "the end of the peer's handshake");
  heard.events.length = 0;
  ready = true;
  return { stream: made, heard, peer };
}

/** Some turns of the loop, for what must not happen. */
export async function turns(count = 20): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

export function hears(heard: Recorder, event: string): Promise<true> {
  return waitFor(() => heard.events.includes(event), `the event "${event}"`);
}

/** So many bytes that a reader can tell where each belongs. */
export function pattern(length: number, seed = 0): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = ((i >> 8) * 31 + i + seed) & 255;
  return bytes;
}

/** Writes such pieces until the stream takes no more; answers what it was given. */
export function fill(stream: Stream, size: number): Buffer {
  const pieces: Buffer[] = [];
  let more = true;
  for (let i = 0; more; i++) {
    assert.ok(i * size < 256 * 1024 * 1024, "a peer that reads nothing is written to without end");
    const piece = pattern(size, i);
    pieces.push(Buffer.from(piece));
    more = call(() => stream.write(piece));
    // Taken before `write` returned: it may be used for something else.
    piece.fill(0xff);
  }
  return Buffer.concat(pieces);
}

/**
 * The same until the kernel takes no more either, which an engine that sends asynchronously does not know at once.
 * Clears the events.
 */
export async function stuff({ stream, heard }: Scene, size: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let stuck = false; !stuck; ) {
    heard.events.length = 0;
    pieces.push(fill(stream, size));
    for (let before = -1; before !== stream.unsent && !heard.events.includes("drain"); ) {
      before = stream.unsent;
      await sleep(20);
    }
    stuck = !heard.events.includes("drain");
  }
  heard.events.length = 0;
  return Buffer.concat(pieces);
}

/** What was heard but for `onSent`, which may follow any write or none, as the engine sends. */
export function heardBut({ events }: Recorder): readonly string[] {
  return events.filter((event) => event !== "sent");
}

/** Makes each event of a stream come, but onClose. */
export const CAUSES: Readonly<Record<string, (scene: Scene) => void>> = {
  onData: ({ peer }) => peer.socket.write("x"),
  onEnd: ({ peer }) => peer.socket.end(),
  onDrain({ stream, peer }) {
    fill(stream, 65_536);
    peer.read();
  },
  onSent({ stream, peer }) {
    fill(stream, 65_536);
    peer.read();
  },
  onPeerClosed({ stream, peer }) {
    stream.pause();
    peer.socket.end("x");
  },
};
