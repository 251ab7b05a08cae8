import { SlabQueue } from "../../../net/slabs.ts";
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
    const piece = typeof bytes === "string" ? bytes : bufferOf(bytes);
    const read = this.read(request, piece);
    if (read < piece.length) this.keep(request).push(bufferOf(cut(piece, read, piece.length)));
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
    while (this.goesOn() && kept !== undefined && kept.length > 0) kept.drop(this.read(request, kept.first()));
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
  private read(request: Request, piece: string | Buffer): number {
    const { parser, context, out, silent } = this;
    parser.at = 0;
    while (parser.at < piece.length && this.goesOn()) {
      let shown = true;
      switch (parser.next(piece)) {
        case TEXT:
          shown = this.text(piece);
          break;
        case COMMAND:
          context.work++;
          shown = runCommand(context, parser.command, parser.params);
          break;
        case FAULT:
          context.work++;
          logError(request, "error", parser.error);
          break;
        case BROKEN:
          shown = false;
      }
      if (!shown && !silent) out.put(context.errmsg);
    }
    return parser.at;
  }

  private text(piece: string | Buffer): boolean {
    const { context, out } = this;
    const { prefix, start, end } = this.parser;
    if (context.output) {
      if (prefix !== "") out.put(prefix);
      if (start < end) out.put(cut(piece, start, end));
    } else if (context.block !== undefined) {
      return context.appendToBlock(prefix + textOf(cut(piece, start, end)));
    }
    return true;
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

function cut(piece: string | Buffer, start: number, end: number): string | Buffer {
  if (start === 0 && end === piece.length) return piece;
  return typeof piece === "string" ? piece.slice(start, end) : piece.subarray(start, end);
}
