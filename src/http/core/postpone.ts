import { afterEvent } from "../../sys/guard.ts";
import { BODY_FILTER, bodyWritable, LAST, passBody, takesMore } from "./filters.ts";
import type { Request } from "./request.ts";
import type { BodyFilter, Postponement } from "./types.ts";

/** Bytes that wait for their turn, and their flags. */
interface Piece {
  readonly bytes: Uint8Array | string;
  readonly flags: number;
}

/** What of one request waits, in order: pieces of its own output, and subrequests whose output comes between them. */
class Waiting {
  private readonly items: (Piece | Request)[] = [];
  private next = 0;

  get empty(): boolean {
    return this.next === this.items.length;
  }

  push(item: Piece | Request): void {
    this.items.push(item);
  }

  /** Must not be empty. */
  shift(): Piece | Request {
    return this.items[this.next++];
  }
}

/** How many bytes of a response's parts are held at most, and one piece of each part: their sources wait then. */
const MOST_HELD = 1024 * 1024;
/** What a piece costs besides its bytes. */
const PIECE = 64;

/**
 * Puts the output of a request and its subrequests into the order in which they were made
 * (ngx_http_postpone_filter_module). Only the active request's output is passed on, and what the others have meanwhile is
 * held: so they can all be under way at once.
 */
export class Postpone implements BodyFilter, Postponement {
  readonly place = BODY_FILTER.postpone;
  /** In `Request.buffered`: the request's source waits. Its output may be held without that. */
  private readonly bit = 1 << BODY_FILTER.postpone;
  private readonly main: Request;
  /** The request whose output is passed on (nginx's c->data). */
  private active: Request;
  private readonly postponed = new Map<Request, Waiting>();
  private held = 0;

  constructor(main: Request) {
    this.main = main;
    this.active = main;
  }

  add(subrequest: Request, parent: Request): void {
    if (this.active === parent && !this.postponed.has(parent)) this.active = subrequest;
    else this.waitingOf(parent).push(subrequest);
  }

  open(request: Request): boolean {
    return this.ready(request) ? takesMore(this.main, this.place) : (request.buffered & this.bit) === 0;
  }

  ready(request: Request): boolean {
    return this.active === request && !this.postponed.has(request);
  }

  output(request: Request, bytes: Uint8Array | string, flags: number): boolean {
    if (this.ready(request)) return this.pass(request, bytes, flags);
    // Nobody calls `drain` any more.
    if (request.connection.closed) return true;
    this.waitingOf(request).push({ bytes: typeof bytes === "string" ? bytes : Buffer.from(bytes), flags });
    this.held += bytes.length + PIECE;
    if (this.held <= MOST_HELD) return true;
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
    const { active } = this;
    const waiting = this.postponed.get(active);
    while (waiting !== undefined && !waiting.empty) {
      const first = waiting.shift();
      // Before the last is passed on: code called from `pass` must not find anything held.
      if (waiting.empty) this.emptied(active);
      if (!("bytes" in first)) {
        if (first.finalized) continue;
        this.active = first;
        afterEvent(wake, this);
        return false;
      }
      this.held -= first.bytes.length + PIECE;
      if (!this.pass(active, first.bytes, first.flags)) return false;
    }
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

  private waitingOf(request: Request): Waiting {
    let waiting = this.postponed.get(request);
    if (waiting === undefined) {
      waiting = new Waiting();
      this.postponed.set(request, waiting);
    }
    return waiting;
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
