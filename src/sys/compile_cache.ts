import { lstatSync, mkdirSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { homedir, tmpdir } from "node:os";

/**
 * Enables Node's compile cache, in a directory that only this user can write to, since what is in it gets executed.
 * Without such a directory Holdfast starts a little slower.
 */
export function useCompileCache(): void {
  // The user has chosen another directory, or none (NODE_DISABLE_COMPILE_CACHE).
  if (process.env.NODE_COMPILE_CACHE !== undefined) return;
  // Node writes the cache when the process exits: root's master does, into a directory of root's. What a child of it has
  // become (nobody) may not write there.
  const uid = process.geteuid?.();
  if (uid === undefined) return;
  for (const directory of candidates(uid)) {
    if (!isOwn(directory, uid)) continue;
    enableCompileCache(directory);
    return;
  }
}

function* candidates(uid: number): Generator<string> {
  const { XDG_CACHE_HOME } = process.env;
  if (XDG_CACHE_HOME?.startsWith("/")) yield `${XDG_CACHE_HOME}/holdfast`;
  else yield `${homedir()}/.cache/holdfast`;
  yield `${tmpdir()}/holdfast-cache-${uid}`;
}

function isOwn(directory: string, uid: number): boolean {
  try {
    mkdirSync(directory, { mode: 0o755 });
  } catch {
    // It exists, or cannot be made: lstat() tells.
  }
  try {
    const status = lstatSync(directory);
    return status.isDirectory() && status.uid === uid && (status.mode & 0o022) === 0;
  } catch {
    return false;
  }
}
