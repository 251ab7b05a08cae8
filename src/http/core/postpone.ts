import { afterEvent } from "../../sys/guard.ts";
import { BODY_FILTER, bodyWritable, LAST, passBody } from "./filters.ts";
import type { Request } from "./request.ts";
import type { BodyFilter, Postponement } from "./types.ts";

/** Bytes that wait for their turn, and their flags. */
interface Piece {
  readonly bytes: Uint8Array | string;
  readonly flags: number;
}

/**
 * Puts the output of a request and its subrequests into the order in which they were made
 * (ngx_http_postpone_filter_module). Only the active request's output is passed on. The others are told to wait after
 * their first piece, so no more than one piece of each is held.
 */
export class Postpone implements BodyFilter, Postponement {
  readonly place = BODY_FILTER.postpone;
  /** Its bit in `Request.buffered`. */
  private readonly bit = 1 << BODY_FILTER.postpone;
  private readonly main: Request;
  /** The request whose output is passed on (nginx's c->data). */
  private active: Request;
  /** By request, in order: held pieces of its own output, and subrequests whose output comes between them. */
  private readonly postponed = new Map<Request, (Piece | Request)[]>();

  constructor(main: Request) {
    this.main = main;
    this.active = main;
  }

  add(subrequest: Request, parent: Request): void {
    const list = this.postponed.get(parent);
    if (list !== undefined) list.push(subrequest);
    else if (this.active === parent) this.active = subrequest;
    else this.postponed.set(parent, [subrequest]);
  }

  open(request: Request): boolean {
    return this.active === request && !this.postponed.has(request) && !this.main.exchange.blocked;
  }

  ready(request: Request): boolean {
    return this.active === request && !this.postponed.has(request);
  }

  output(request: Request, bytes: Uint8Array | string, flags: number): boolean {
    if (this.ready(request)) return this.pass(request, bytes, flags);
    const list = this.postponed.get(request);
    const piece = { bytes: typeof bytes === "string" ? bytes : Buffer.from(bytes), flags };
    if (list === undefined) this.postponed.set(request, [piece]);
    else list.push(piece);
    request.buffered |= this.bit;
    return false;
  }

  remove(subrequest: Request, parent: Request): void {
    this.postponed.delete(subrequest);
    if (this.active !== subrequest) return;
    this.active = parent;
    afterEvent(wake, this);
  }

  /** The main request's own output. */
  push(request: Request, bytes: Uint8Array | string, flags: number): boolean {
    return this.output(request, bytes, flags);
  }

  /** The client takes bytes again, or another request became active. True if that is the main request: it may go on. */
  drain(): boolean {
    const { active, postponed } = this;
    const list = postponed.get(active);
    while (list !== undefined && list.length > 0) {
      const first = list.shift();
      if (first === undefined) break;
      if (!("bytes" in first)) {
        if (first.finalized) continue;
        if (list.length === 0) this.emptied(active);
        this.active = first;
        afterEvent(wake, this);
        return false;
      }
      // Cleared before the last piece is passed on: code called from `pass` must not find anything held.
      if (list.length === 0) this.emptied(active);
      if (!this.pass(active, first.bytes, first.flags)) return false;
    }
    if (list !== undefined) this.emptied(active);
    if (active === this.main) return true;
    bodyWritable(active);
    return false;
  }

  wake(): void {
    if (!this.main.exchange.blocked && !this.main.connection.closed) bodyWritable(this.main);
  }

  onFault(error: unknown): void {
    this.main.onFault(error);
  }

  private emptied(request: Request): void {
    this.postponed.delete(request);
    request.buffered &= ~this.bit;
  }

  /** The end of a subrequest is not the end of the response. */
  private pass(request: Request, bytes: Uint8Array | string, flags: number): boolean {
    const { main } = this;
    const passed = request === main ? flags : flags & ~LAST;
    if (bytes.length === 0 && passed === 0) return true;
    return passBody(main, main.bodyFilters.indexOf(this) + 1, bytes, passed);
  }
}

function wake(postpone: Postpone): void {
  postpone.wake();
}
