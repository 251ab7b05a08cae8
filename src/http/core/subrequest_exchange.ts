import { byteString } from "../../wire/latin1.ts";
import { ERROR, OK } from "./codes.ts";
import { finalizeRequest } from "./engine.ts";
import { logError } from "./log_context.ts";
import type { Request } from "./request.ts";
import type { Exchange, Postponement } from "./types.ts";

/**
 * Carries a subrequest whose response goes nowhere. It has no connection, and all of its body is there from the start.
 */
export class Nowhere implements Exchange {
  readonly tunnel = undefined;
  protected readonly main: Request;
  protected carried: Request | undefined = undefined;

  constructor(main: Request) {
    this.main = main;
  }

  /** Sets the request it carries, which needs the exchange first. */
  carry(request: Request): void {
    this.carried = request;
  }

  get blocked(): boolean {
    return false;
  }

  sendHead(): void {}

  sendBody(_request: Request, _bytes: Uint8Array | string, _flags: number): boolean {
    return true;
  }

  flush(): void {}

  sendContinue(): void {}

  sendInformational(): void {}

  discardBody(): number {
    return OK;
  }

  startBody(): void {}

  pauseBody(): void {}

  resumeBody(): void {}

  finalize(): void {}

  onFault(error: unknown): void {
    this.carried?.subrequest?.fail(this.carried, error);
  }

  terminate(): void {
    finalizeRequest(this.main, ERROR);
  }
}

/** Carries a subrequest whose body is part of the client's response. */
export class ToParent extends Nowhere {
  private readonly postpone: Postponement;

  constructor(main: Request, postpone: Postponement) {
    super(main);
    this.postpone = postpone;
  }

  override get blocked(): boolean {
    return this.carried !== undefined && !this.postpone.open(this.carried);
  }

  override sendBody(request: Request, bytes: Uint8Array | string, flags: number): boolean {
    return this.postpone.output(request, bytes, flags);
  }

  override flush(): void {
    if (this.carried !== undefined && this.postpone.ready(this.carried)) this.main.exchange.flush();
  }
}

/** Carries a subrequest whose body is kept as text (ngx_http_postpone_filter_in_memory). */
export class ToMemory extends Nowhere {
  private readonly memory: { body: string | undefined };

  constructor(main: Request, memory: { body: string | undefined }) {
    super(main);
    this.memory = memory;
  }

  override sendBody(request: Request, bytes: Uint8Array | string, _flags: number): boolean {
    if (request.finalized) return true;
    const { memory } = this;
    const known = memory.body ?? "";
    const { subrequestOutputBufferSize: most } = request.location.core;
    const { contentLength } = request.response;
    if (known.length + bytes.length > most || contentLength > most) {
      const what = contentLength > most ? `: ${contentLength}` : "";
      logError(request, "error", `too big subrequest response${what}`);
      finalizeRequest(request, ERROR);
      return true;
    }
    memory.body = known + (typeof bytes === "string" ? bytes : byteString(bytes, 0, bytes.length));
    return true;
  }
}
