import type fs from "node:fs";
import type { Turn } from "../../../sys/turns.ts";
import { ERROR, OK } from "../../core/codes.ts";
import { finalizeIfAborted, finalizeRequest } from "../../core/engine.ts";
import { LAST, passBody, takesMore } from "../../core/filters.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { DirectoryReading, type DirectoryVisitor } from "../../files/directory.ts";
import { nextTurn } from "../../files/file_turns.ts";
import { SortedEntries } from "./entries.ts";
import type { ListingText } from "./listing_text.ts";

/** About as much text is made in one turn of the event loop. */
const PIECE = 16 * 1024;
/** A process holds no more entries at a time, some 200 bytes each. */
const MOST = 1_000_000;
let held = 0;

/** Reads a directory, and sends its listing as the client takes it. */
export class Listing implements DirectoryVisitor, Turn {
  readonly dangling: ReadonlySet<string> = new Set(["ENOENT", "ELOOP"]);
  readonly skipped: ReadonlySet<string> = new Set(["EACCES"]);
  readonly #request: Request;
  readonly #text: ListingText;
  readonly #reading: DirectoryReading;
  readonly #entries = new SortedEntries();
  #count = 0;
  #waits = false;
  #sent = 0;

  constructor(request: Request, directory: fs.Dir, path: string, text: ListingText) {
    this.#request = request;
    this.#text = text;
    this.#reading = new DirectoryReading(request, directory, path, this);
    request.onAbort = finalizeIfAborted;
    request.cleanup ??= [];
    request.cleanup.push(() => this.#release());
  }

  begin(): void {
    this.#reading.begin();
  }

  onFault(error: unknown): void {
    this.#request.onFault(error);
  }

  onName(): boolean {
    return true;
  }

  onStats(name: string, stats: fs.Stats): void {
    if (held === MOST) {
      logError(
        this.#request,
        "error",
        `too many entries are listed at the same time, while reading "${this.#reading.path}"`,
      );
      this.#reading.stop();
      finalizeRequest(this.#request, ERROR);
      return;
    }
    held++;
    this.#count++;
    this.#entries.add({
      name,
      dir: stats.isDirectory(),
      file: stats.isFile(),
      mtime: Math.floor(stats.mtimeMs / 1000),
      size: stats.size,
    });
  }

  onEnd(complete: boolean): void {
    const request = this.#request;
    if (!complete) {
      finalizeRequest(request, ERROR);
      return;
    }
    request.onWritable = () => this.#goOn();
    this.onTurn();
  }

  /** The client takes more: sends another piece in a later turn. */
  #goOn(): void {
    if (this.#waits || !takesMore(this.#request)) return;
    this.#waits = true;
    nextTurn(this);
  }

  onTurn(): void {
    this.#waits = false;
    const request = this.#request;
    if (request.finalized || !takesMore(request)) return;
    let text = this.#sent === 0 ? this.#text.head : "";
    while (text.length < PIECE) {
      const entry = this.#entries.take();
      if (entry === undefined) {
        passBody(request, 0, text + this.#text.tail, LAST);
        finalizeRequest(request, OK);
        return;
      }
      text += this.#text.line(entry, this.#sent === 0);
      this.#sent++;
    }
    passBody(request, 0, text, 0);
    this.#goOn();
  }

  #release(): void {
    this.#reading.stop();
    held -= this.#count;
    this.#count = 0;
  }
}
