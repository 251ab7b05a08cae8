import { afterEvent, defer } from "../../sys/guard.ts";
import { CLIENT_CLOSED_REQUEST } from "./codes.ts";
import { finalizeRequest } from "./engine.ts";
import { addBodyFilter } from "./filters.ts";
import { freeRequest, releaseRequest } from "./free_request.ts";
import { Postpone } from "./postpone.ts";
import type { Request } from "./request.ts";
import type { Subrequest, Subrequests } from "./types.ts";

/** The subrequests of a main request that are under way. */
export class LiveSubrequests implements Subrequests {
  private readonly main: Request;
  private readonly live = new Set<Request>();
  /** What the main request was finalized with while some of them were under way. */
  private finalCode: number | undefined = undefined;
  /** The main request is over; what it holds is released after the last subrequest. */
  private orphaned = false;
  private ordered: Postpone | undefined = undefined;
  private flushing = false;

  constructor(main: Request) {
    this.main = main;
  }

  get count(): number {
    return this.live.size;
  }

  add(request: Request, { parent, options, inResponse }: Subrequest): void {
    this.live.add(request);
    if (options.background === true) return;
    this.main.onAbort ??= abort;
    this.flushSoon();
    if (inResponse) this.postpone().add(request, parent);
  }

  postpone(): Postpone {
    if (this.ordered === undefined) {
      this.ordered = new Postpone(this.main);
      addBodyFilter(this.main, this.ordered);
    }
    return this.ordered;
  }

  remove(subrequest: Request): void {
    this.live.delete(subrequest);
    if (this.main.onAbort === abort && !this.awaited()) this.main.onAbort = undefined;
    if (this.live.size > 0) {
      this.flushSoon();
      return;
    }
    if (this.orphaned) {
      releaseRequest(this.main);
      this.main.connection.subrequestsEnded();
    } else if (this.finalCode !== undefined) {
      afterEvent(finalizeMain, this);
    }
  }

  finalizeLater(code: number): boolean {
    if (this.live.size === 0) return false;
    const { main } = this;
    this.finalCode = code;
    main.onAbort = this.awaited() ? abort : undefined;
    main.onWritable = undefined;
    return true;
  }

  /** What the response has so far is sent, unless all of it comes within this turn of the event loop. */
  private flushSoon(): void {
    if (this.flushing || !this.main.headerSent) return;
    this.flushing = true;
    defer(flush, this);
  }

  flush(): void {
    const { main } = this;
    this.flushing = false;
    if (!main.finalized) main.exchange.flush(Math.max(1, main.location.core.postponeOutput));
  }

  get holds(): boolean {
    return this.ordered !== undefined && !this.ordered.ready(this.main);
  }

  /** Whether the response waits for some of them. */
  private awaited(): boolean {
    for (const request of this.live) if (request.subrequest?.options.background !== true) return true;
    return false;
  }

  /** The client has gone: as in nginx the active request ends its work. */
  abort(): void {
    for (const request of this.live) {
      if (request.subrequest?.options.background === true) continue;
      request.aborted = this.main.aborted;
      request.onAbort?.(request);
      break;
    }
    if (this.main.aborted) finalizeRequest(this.main, CLIENT_CLOSED_REQUEST);
  }

  finalizeMain(): void {
    if (this.finalCode !== undefined) finalizeRequest(this.main, this.finalCode);
  }

  onFault(error: unknown): void {
    this.main.onFault(error);
  }

  outlive(): boolean {
    const complete = this.finalCode !== undefined;
    for (const request of this.live) {
      if (complete && request.subrequest?.options.background === true) continue;
      this.live.delete(request);
      dropSubrequest(request);
    }
    this.orphaned = this.live.size > 0;
    return this.orphaned;
  }
}

function abort(main: Request): void {
  main.subrequests?.abort();
}

function flush(subrequests: LiveSubrequests): void {
  subrequests.flush();
}

function finalizeMain(subrequests: LiveSubrequests): void {
  subrequests.finalizeMain();
}

/** Ends a subrequest where it stands. */
export function dropSubrequest(request: Request): void {
  request.finalized = true;
  if (request.upstream?.ended === false) request.upstream.abandon();
  freeRequest(request);
}
