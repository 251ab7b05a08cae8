import { SlabQueue } from "../../net/slabs.ts";
import { boundary, contain } from "../../sys/guard.ts";
import { logError, logOf } from "../core/log_context.ts";
import { openTemporary, type TempFile, TempFileError } from "../core/temp_file.ts";
import type { BodyKeeper, KeeperOwner } from "../core/upstream.ts";
import { discard, extRenameFile, FileCallError } from "../files/file_operations.ts";
import { mapUriToPath } from "../files/file_root.ts";
import type { UpstreamSettings } from "./settings.ts";

/** The pipe whose answer is stored. */
export interface StoreOwner extends KeeperOwner {
  readonly settings: UpstreamSettings;
}

/** This many bytes may wait to be written; then reading from the server pauses. */
const WAITING = 128 * 1024;

/**
 * Stores an answer as a file (`…_store`): in a temporary one, which gets its name when the answer is whole. Whatever fails is
 * logged, and the client gets its response all the same.
 */
export class ResponseStore implements BodyKeeper {
  ended = false;
  private readonly owner: StoreOwner;
  /** The file's time, in seconds; -1 for none. */
  private readonly time: number;
  private readonly waiting = new SlabQueue();
  private file: TempFile | undefined = undefined;
  private written = 0;
  private writing = false;
  /** The answer is whole. */
  private whole = false;

  constructor(owner: StoreOwner, time: number) {
    this.owner = owner;
    this.time = time;
  }

  get full(): boolean {
    return !this.ended && this.waiting.length >= WAITING;
  }

  /** Takes bytes lent for the call. */
  push(bytes: Uint8Array): void {
    if (this.ended) return;
    this.waiting.push(bytes);
    this.write();
  }

  /** The answer is whole: has the file renamed when all is written. */
  finish(): void {
    this.whole = true;
    if (!this.ended && !this.writing && this.waiting.length === 0) this.rename();
  }

  /** Forgets what was stored, unless it is whole and about to get its name. */
  close(): void {
    this.ended = true;
    if (!this.writing) this.waiting.clear();
    this.file?.remove();
    this.file?.close();
    this.file = undefined;
  }

  private write(): void {
    if (this.writing) return;
    const file = this.open();
    if (file === undefined) return;
    this.writing = true;
    file.write(this.waiting.first(), this.written, this, wasWritten);
  }

  private open(): TempFile | undefined {
    try {
      this.file ??= openTemporary(this.owner.settings.tempPath);
      return this.file;
    } catch (error) {
      if (!(error instanceof TempFileError)) throw error;
      this.fail(error.message);
      return undefined;
    }
  }

  private fail(sentence: string): void {
    logError(this.owner.request, "crit", `${sentence} while reading upstream`);
    this.close();
  }

  wasWritten(count: number, why: string): void {
    this.writing = false;
    if (this.ended) {
      this.waiting.clear();
      return;
    }
    if (count === 0) {
      this.fail(`pwrite() "${this.file?.path}" failed (${why})`);
    } else {
      this.written += count;
      this.waiting.drop(count);
      if (this.waiting.length > 0) this.write();
      else if (this.whole) this.rename();
    }
    this.owner.onKept();
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }

  private rename(): void {
    const { owner } = this;
    const path = storePath(owner);
    // An empty answer has no file yet.
    const file = path === "" ? undefined : this.open();
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

function wasWritten(store: ResponseStore, count: number, why: string): void {
  store.wasWritten(count, why);
}

/** Where it is stored: by `root` and `alias` where no path is given. "": nowhere. */
function storePath({ request, settings }: StoreOwner): string {
  const path = settings.store?.path;
  return (path === undefined ? mapUriToPath(request)?.path : path.render(request)) ?? "";
}
