import { boundary, contain } from "../../sys/guard.ts";
import { KeptFile, type KeptFileOwner } from "../core/kept_file.ts";
import { logError, logOf } from "../core/log_context.ts";
import type { BodyKeeper, KeeperOwner } from "../core/upstream.ts";
import { discard, extRenameFile, FileCallError } from "../files/file_operations.ts";
import { mapUriToPath } from "../files/file_root.ts";
import type { UpstreamSettings } from "./settings.ts";

/** The pipe whose answer is stored. */
export interface StoreOwner extends KeeperOwner {
  readonly settings: UpstreamSettings;
}

/**
 * Stores an answer as a file (`…_store`): in a temporary one, which gets its name when the answer is whole. Whatever fails is
 * logged, and the client gets its response all the same.
 */
export class ResponseStore implements BodyKeeper, KeptFileOwner {
  ended = false;
  private readonly owner: StoreOwner;
  /** The file's time, in seconds; -1 for none. */
  private readonly time: number;
  private readonly kept: KeptFile;
  /** The answer is whole. */
  private whole = false;

  constructor(owner: StoreOwner, time: number) {
    this.owner = owner;
    this.time = time;
    this.kept = new KeptFile(this, owner.settings.tempPath, 0);
  }

  get full(): boolean {
    return this.kept.full;
  }

  /** Takes bytes lent for the call. */
  push(bytes: Uint8Array): void {
    if (this.ended) return;
    this.kept.push(bytes);
    this.kept.write();
  }

  /** The answer is whole: has the file renamed when all is written. */
  finish(): void {
    this.whole = true;
    if (!this.ended && !this.kept.writing && this.kept.left === 0) this.rename();
  }

  /** Forgets what was stored, unless it is whole and about to get its name. */
  close(): void {
    this.ended = true;
    this.kept.close();
  }

  onWritten(): void {
    if (this.kept.left > 0) this.kept.write();
    else if (this.whole) this.rename();
  }

  onWriteOver(): void {
    this.owner.onKept();
  }

  onFailure(sentence: string): void {
    logError(this.owner.request, "crit", `${sentence} while reading upstream`);
    this.close();
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }

  private rename(): void {
    const { owner } = this;
    const path = storePath(owner);
    // An empty answer has no file yet.
    const file = path === "" ? undefined : this.kept.open();
    if (file === undefined) {
      this.close();
      return;
    }
    const log = logOf(owner.request);
    const temporary = file.giveAway();
    const access = owner.settings.store?.access ?? 0;
    extRenameFile(temporary, path, { access, time: this.time, pathAccess: access }, log)
      .catch(async (error) => {
        if (!(error instanceof FileCallError)) throw error;
        log("crit", `${error.message} while reading upstream`);
        await discard(temporary, log);
      })
      .then(
        boundary(owner, () => {
          if (this.ended) return;
          this.close();
          owner.onKept();
        }),
        (error) => contain(owner, error),
      );
  }
}

/** Where it is stored: by `root` and `alias` where no path is given. "": nowhere. */
function storePath({ request, settings }: StoreOwner): string {
  const path = settings.store?.path;
  return (path === undefined ? mapUriToPath(request)?.path : path.render(request)) ?? "";
}
