import { SlabQueue } from "../../../net/slabs.ts";
import { byteString } from "../../../wire/latin1.ts";
import { BODY_FILTER, LAST, PART_END } from "../../core/filters.ts";
import type { Gatherer } from "../../core/gatherer.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { BodyFilter } from "../../core/types.ts";
import { runCommand } from "./commands.ts";
import type { Context } from "./context.ts";
import { BROKEN, COMMAND, FAULT, Parser, TEXT } from "./parser.ts";

const BIT = 1 << BODY_FILTER.ssi;
/** How much work of commands one turn of the event loop takes. */
const WORK_PER_TURN = 1000;
/** As much of a buffer becomes text at once where a command begins in it. */
const WINDOW = 4096;

/** Does what the commands in the body of one response say (ngx_http_ssi_body_filter). */
export class SsiFilter implements BodyFilter {
  readonly place = BODY_FILTER.ssi;
  private readonly context: Context;
  private readonly parser: Parser;
  private readonly out: Gatherer;
  private readonly silent: boolean;
  /** Input that waits for the client, for a subrequest or for another turn, and the flags it came with. */
  private kept: SlabQueue | undefined = undefined;
  private flags = 0;

  constructor(context: Context, valueLength: number, silent: boolean) {
    this.context = context;
    this.out = context.out;
    this.parser = new Parser(valueLength);
    this.silent = silent;
  }

  push(request: Request, bytes: Uint8Array | string, flags: number, next: number): boolean {
    this.flags |= flags;
    if (this.context.wait !== undefined || (this.kept !== undefined && this.kept.length > 0)) {
      this.keep(request).push(bufferOf(bytes));
      return false;
    }
    this.begin(request, next);
    if (typeof bytes === "string") {
      const read = this.read(request, bytes);
      if (read < bytes.length) this.keep(request).push(Buffer.from(bytes.slice(read), "latin1"));
    } else {
      const read = this.readBytes(request, bufferOf(bytes));
      if (read < bytes.length) this.keep(request).push(bytes.subarray(read));
    }
    return this.end(request);
  }

  drain(request: Request, next: number): boolean {
    const { kept, context } = this;
    // Called from within our own call of passBody, which continues.
    if (this.out.busy) return false;
    if (context.wait !== undefined) {
      if (!context.wait.finalized) return false;
      context.wait = undefined;
    } else if (kept === undefined || kept.length === 0) {
      return true;
    }
    this.begin(request, next);
    while (this.goesOn() && kept !== undefined && kept.length > 0) kept.drop(this.readBytes(request, kept.first()));
    return this.end(request);
  }

  private begin(request: Request, next: number): void {
    this.out.begin(request, next, this.place);
    this.context.work = 0;
  }

  private goesOn(): boolean {
    const { context, out } = this;
    return out.more && context.wait === undefined && context.work < WORK_PER_TURN;
  }

  private keep(request: Request): SlabQueue {
    if (this.kept !== undefined) return this.kept;
    const kept = new SlabQueue();
    this.kept = kept;
    request.cleanup ??= [];
    request.cleanup.push(() => kept.clear());
    return kept;
  }

  /** Reads as much of a piece as may be done now. Returns how many bytes. */
  private readBytes(request: Request, bytes: Buffer): number {
    const { length } = bytes;
    let at = 0;
    while (at < length && this.goesOn()) {
      const end = this.parser.skip(bytes, at);
      if (end > at) this.show(end - at === length ? bytes : bytes.subarray(at, end));
      if (end === length) return length;
      at = end + this.read(request, byteString(bytes, end, Math.min(end + WINDOW, length)));
    }
    return at;
  }

  private read(request: Request, text: string): number {
    const { parser, context } = this;
    parser.at = 0;
    while (parser.at < text.length && this.goesOn()) {
      switch (parser.next(text)) {
        case TEXT:
          if (parser.prefix !== "") this.show(parser.prefix);
          if (parser.start < parser.end) this.show(text.slice(parser.start, parser.end));
          break;
        case COMMAND:
          context.work++;
          if (!runCommand(context, parser.command, parser.params)) this.showError();
          break;
        case FAULT:
          context.work++;
          logError(request, "error", parser.error);
          break;
        case BROKEN:
          this.showError();
      }
    }
    return parser.at;
  }

  /** Text of the page. */
  private show(text: string | Buffer): void {
    const { context, out } = this;
    if (context.output) out.put(text);
    else if (context.block !== undefined && !context.appendToBlock(textOf(text))) this.showError();
  }

  private showError(): void {
    if (!this.silent) this.out.put(this.context.errmsg);
  }

  /** Passes on what was gathered, with the flags if nothing is left. */
  private end(request: Request): boolean {
    const { context, flags, kept, out } = this;
    if (context.wait !== undefined || (kept !== undefined && kept.length > 0)) {
      request.buffered |= BIT;
      out.end(0, context.wait === undefined);
      return false;
    }
    if ((flags & (LAST | PART_END)) !== 0) {
      const rest = this.parser.rest();
      if (rest !== "" && context.output) out.put(rest);
    }
    this.flags = 0;
    request.buffered &= ~BIT;
    return out.end(flags, false);
  }
}

function bufferOf(bytes: Uint8Array | string): Buffer {
  if (typeof bytes === "string") return Buffer.from(bytes, "latin1");
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function textOf(piece: string | Buffer): string {
  return typeof piece === "string" ? piece : piece.latin1Slice();
}
