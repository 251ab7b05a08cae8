import { lstatSync, mkdirSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { homedir, tmpdir } from "node:os";
import { startedAsRoot } from "./users.ts";

/**
 * Lets Node keep compiled code from start to start, in a directory that belongs to this user alone: what lies in it is
 * run. Without one that can be trusted, Holdfast starts a little slower.
 */
export function useCompileCache(): void {
  // Set by whoever wants another place, or none (NODE_DISABLE_COMPILE_CACHE).
  if (process.env.NODE_COMPILE_CACHE !== undefined) return;
  const uid = process.getuid?.();
  // Root becomes another user, who would write at the end what root runs at the next start, and what threads run while
  // they still have some of root's rights.
  if (uid === undefined || startedAsRoot) return;
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
    // It is there already, or cannot be made: the next look tells.
  }
  try {
    const status = lstatSync(directory);
    return status.isDirectory() && status.uid === uid && (status.mode & 0o022) === 0;
  } catch {
    return false;
  }
}
