import type { Socket } from "node:net";

/**
 * Writing past node:stream. A Node whose handles take a write without a request object (26.10 does: number back when the
 * kernel took all, an object when the rest is queued) lets a small response leave without the bookkeeping of a Writable,
 * about a twentieth of a proxied request's cost. Undocumented, so only the very line of Node that set-up brings is
 * trusted with it; any other goes through `socket.write`.
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

const [major, minor] = process.versions.node.split(".").map(Number);
const TRUSTED = major === 26 && minor >= 10;

/** The handle of a connected socket that can be written to directly. */
export function directHandle(socket: Socket): DirectHandle | undefined {
  if (!TRUSTED) return undefined;
  const handle: unknown = (socket as unknown as { _handle?: unknown })._handle;
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
  const handle: unknown = (socket as unknown as { _handle?: unknown })._handle;
  if (typeof handle !== "object" || handle === null) return undefined;
  if (!("bytesWritten" in handle) || !("writeQueueSize" in handle)) return undefined;
  const known = typeof handle.bytesWritten === "number" && typeof handle.writeQueueSize === "number";
  return known ? (handle as HandleCounts) : undefined;
}

export type { DirectHandle };
