import type { Socket } from "node:net";

/**
 * Writing past node:stream. A Node whose handles take a write without a request object (26.10 does: number back when the
 * kernel took all, an object when the rest is queued) lets a small response leave without the bookkeeping of a Writable,
 * about a twentieth of a proxied request's cost. Undocumented, and so are the handle's counters: both are used only
 * where a trial at the thread's start found them as they should be (direct_write_proof.ts). Without, everything goes
 * through `socket.write`.
 */

/** A write that is under way. */
export interface DirectWrite {
  /** Set by Node when it ended before `oncomplete` was there. */
  readonly writeStatus: number | null;
  oncomplete: ((status: number) => void) | undefined;
}

interface DirectHandle {
  writeLatin1String(request: null, text: string): number | DirectWrite;
}

/** The trial succeeded. */
let trusted = false;

export function trustHandles(trust: boolean): void {
  trusted = trust;
}

function handleOf(socket: Socket): unknown {
  return (socket as unknown as { _handle?: unknown })._handle;
}

/** The handle of a connected socket that can be written to directly. */
export function directHandle(socket: Socket): DirectHandle | undefined {
  return trusted ? directHandleOf(handleOf(socket)) : undefined;
}

export function directHandleOf(handle: unknown): DirectHandle | undefined {
  if (typeof handle !== "object" || handle === null || !("writeLatin1String" in handle)) return undefined;
  return typeof handle.writeLatin1String === "function" ? (handle as DirectHandle) : undefined;
}

/** What a handle counts, all its life. */
export interface HandleCounts {
  /** Bytes handed to the handle. */
  readonly bytesWritten: number;
  /** Those of them that the kernel has not taken. */
  readonly writeQueueSize: number;
}

/** The counters of a connected socket's handle. */
export function handleCounts(socket: Socket): HandleCounts | undefined {
  return trusted ? handleCountsOf(handleOf(socket)) : undefined;
}

export function handleCountsOf(handle: unknown): HandleCounts | undefined {
  if (typeof handle !== "object" || handle === null) return undefined;
  if (!("bytesWritten" in handle) || !("writeQueueSize" in handle)) return undefined;
  const known = typeof handle.bytesWritten === "number" && typeof handle.writeQueueSize === "number";
  return known ? (handle as HandleCounts) : undefined;
}

export type { DirectHandle };
