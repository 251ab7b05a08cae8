import fs from "node:fs";
import { FILE_PIECE, type FileReadHandler } from "../../../net/engine.ts";
import { engine } from "../../../net/engines.ts";
import type { StreamError } from "../../../net/stream.ts";
import { readCached } from "../../../sys/page_cache.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { Mp4Error, readHeader, writeHeader } from "./atom.ts";
import { type CutMovie, cutMovie, type Mp4File } from "./movie.ts";
import type { Cut } from "./trak.ts";

/** What became of a file: a part of it, the file as it is, or an error that was logged. */
export type Mp4Result = CutMovie | "whole" | "failed";

/** mp4_buffer_size, mp4_max_buffer_size */
export interface Mp4Limits {
  readonly bufferSize: number;
  readonly maxBufferSize: number;
}

const LONGEST_HEADER = 16;
/** Of ftyp. */
const MOST_FTYP = 1024;

type Wanted = "header" | "ftyp" | "moov";

/** Reads ftyp and moov of an open file, and finds mdat; what is not in memory is read beside the event loop. */
export class Mp4Reading implements FileReadHandler {
  readonly #request: Request;
  readonly #fd: number;
  readonly #cut: Cut;
  readonly #limits: Mp4Limits;
  readonly #done: (result: Mp4Result) => void;
  /** Where the next atom begins, and how far its header reaches. */
  #at = 0;
  #headerLength = 0;
  #size = 0;
  /** What is being read. */
  #wanted: Wanted = "header";
  #bytes = Buffer.alloc(0);
  #position = 0;
  #filled = 0;
  #reading = false;
  #open = true;

  #ftyp: Buffer | undefined = undefined;
  #moov: Buffer | undefined = undefined;
  #moovLength = 0;
  #dataEnd = -1;

  constructor(request: Request, fd: number, cut: Cut, limits: Mp4Limits, done: (result: Mp4Result) => void) {
    this.#request = request;
    this.#fd = fd;
    this.#cut = cut;
    this.#limits = limits;
    this.#done = done;
  }

  /** Begins. `done` is called at once if nothing has to be waited for. */
  begin(): void {
    this.#nextAtom();
    this.#run();
  }

  /** From now on the descriptor is another's to close. */
  handOver(): void {
    this.#open = false;
  }

  /** Nothing more is wanted: closes the descriptor, when no read is under way. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    if (!this.#reading) fs.closeSync(this.#fd);
  }

  onFault(error: unknown): void {
    this.#request.onFault(error);
  }

  onFileRead(bytes: Buffer, error: StreamError | undefined): void {
    this.#reading = false;
    if (!this.#open) {
      fs.closeSync(this.#fd);
    } else if (error !== undefined) {
      logError(this.#request, "crit", `pread() "${this.#cut.file}" failed (${error.message})`);
      this.#done("failed");
    } else if (this.#take(bytes)) {
      this.#run();
    }
  }

  #run(): void {
    try {
      while (this.#fill()) {
        const result = this.#step();
        if (result !== undefined) {
          this.#done(result);
          return;
        }
      }
    } catch (error) {
      if (!(error instanceof Mp4Error)) throw error;
      logError(this.#request, "error", error.message);
      this.#done("failed");
    }
  }

  /** Reads what is wanted. False if the disk has to be waited for, or the file has become shorter. */
  #fill(): boolean {
    while (this.#filled < this.#bytes.length) {
      const position = this.#position + this.#filled;
      const left = this.#bytes.length - this.#filled;
      const bytes = readCached(this.#fd, position, left);
      if (bytes === undefined) {
        this.#reading = true;
        engine().readFile(this.#fd, position, Math.min(FILE_PIECE, left), this);
        return false;
      }
      if (!this.#take(bytes)) return false;
    }
    return true;
  }

  #take(bytes: Buffer): boolean {
    if (bytes.length > 0) {
      bytes.copy(this.#bytes, this.#filled);
      this.#filled += bytes.length;
      return true;
    }
    const { file } = this.#cut;
    logError(this.#request, "crit", `pread() read only ${this.#filled} of ${this.#bytes.length} from "${file}"`);
    this.#done("failed");
    return false;
  }

  #want(wanted: Wanted, position: number, length: number): void {
    this.#wanted = wanted;
    this.#position = position;
    this.#bytes = Buffer.allocUnsafeSlow(length);
    this.#filled = 0;
  }

  /** Wants the header of the atom at `#at`, or nothing at the end of the file. */
  #nextAtom(): void {
    this.#want("header", this.#at, Math.min(LONGEST_HEADER, this.#limits.bufferSize, this.#cut.size - this.#at));
  }

  /** What is wanted has been read. The result, if no more is needed. */
  #step(): Mp4Result | undefined {
    if (this.#wanted === "header") return this.#takeHeader();
    if (this.#wanted === "ftyp") {
      writeHeader(this.#bytes, "ftyp", this.#bytes.length);
      this.#ftyp = this.#bytes;
    } else {
      this.#moov = this.#bytes;
    }
    return this.#goOn();
  }

  #takeHeader(): Mp4Result | undefined {
    const { file, size } = this.#cut;
    const header = this.#at < size ? readHeader(file, this.#bytes, 0, size - this.#at) : undefined;
    if (header === undefined) return this.#finish();
    this.#headerLength = header.length;
    this.#size = header.size;
    switch (header.name) {
      case "ftyp":
        return this.#takeFtyp();
      case "moov":
        return this.#takeMoov();
      case "mdat":
        if (this.#dataEnd >= 0) throw new Mp4Error(`duplicate mp4 mdat atom in "${file}"`);
        this.#dataEnd = this.#at + header.size;
        break;
    }
    return this.#goOn();
  }

  #takeFtyp(): undefined {
    const { file } = this.#cut;
    const length = this.#size - this.#headerLength;
    if (length > MOST_FTYP) throw new Mp4Error(`"${file}" mp4 ftyp atom is too large:${length}`);
    if (this.#ftyp !== undefined) throw new Mp4Error(`duplicate mp4 ftyp atom in "${file}"`);
    this.#want("ftyp", this.#at + this.#headerLength - 8, 8 + length);
  }

  #takeMoov(): "whole" | undefined {
    const { file, start, length, size } = this.#cut;
    // All of a file whose moov comes first needs no change.
    if (this.#dataEnd < 0 && start === 0n && length === 0n) return "whole";
    if (this.#moov !== undefined) throw new Mp4Error(`duplicate mp4 moov atom in "${file}"`);
    this.#moovLength = this.#size - this.#headerLength;
    const { bufferSize, maxBufferSize } = this.#limits;
    if (this.#moovLength > bufferSize && this.#moovLength > maxBufferSize) {
      throw new Mp4Error(
        `"${file}" mp4 moov atom is too large:${this.#moovLength}, you may want to increase mp4_max_buffer_size`,
      );
    }
    const position = this.#at + this.#headerLength;
    this.#want("moov", position, Math.min(this.#moovLength + LONGEST_HEADER, size - position));
    return undefined;
  }

  /** An atom is done with: atoms behind the second of moov and mdat do not matter. */
  #goOn(): Mp4Result | undefined {
    this.#at += this.#size;
    if (this.#moov !== undefined && this.#dataEnd >= 0) return this.#finish();
    this.#nextAtom();
    return undefined;
  }

  #finish(): CutMovie {
    const { file } = this.#cut;
    if (this.#moov === undefined) throw new Mp4Error(`no mp4 trak atoms were found in "${file}"`);
    const found: Mp4File = {
      ftyp: this.#ftyp,
      moov: this.#moov,
      moovLength: this.#moovLength,
      dataEnd: this.#dataEnd,
    };
    return cutMovie(this.#cut, found);
  }
}
