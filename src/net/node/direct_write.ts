import type { Socket } from "node:net";

/**
 * Writes that bypass node:stream. In Node 26.10 a handle accepts a write without a request object (it returns a number if
 * the kernel took all, an object if the rest is queued). A small response sent that way saves the bookkeeping of a
 * Writable, about 5% of a proxied request. This is undocumented, as are the handle's counters: both are used only if a
 * test when the process starts (direct_write_proof.ts) finds them as expected. Otherwise `socket.write` is used.
 */

/** A write that is queued in part. */
export interface DirectWrite {
  /** Set by Node if the write completed before `oncomplete` was set. */
  readonly writeStatus: number | null;
  oncomplete: ((status: number) => void) | undefined;
}

interface DirectHandle {
  writeLatin1String(request: null, text: string): number | DirectWrite;
}

/** Whether the test succeeded. */
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

/** Counters of a handle. */
export interface HandleCounts {
  /** Bytes passed to the handle. */
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
