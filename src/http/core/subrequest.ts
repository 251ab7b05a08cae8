import { now, wallNow } from "../../sys/clock.ts";
import { afterEvent } from "../../sys/guard.ts";
import { extenOf } from "../../wire/uri.ts";
import { CLIENT_CLOSED_REQUEST, CLOSE, ERROR, OK } from "./codes.ts";
import {
  answerStatus,
  finalizeRequest,
  finalizeWhenWritten,
  freeRequest,
  releaseRequest,
  startPhases,
} from "./engine.ts";
import { addBodyFilter } from "./filters.ts";
import { logError, logException } from "./log_context.ts";
import { Postpone } from "./postpone.ts";
import { GET, Request } from "./request.ts";
import { newResponse } from "./response.ts";
import type { Exchange, Postponement, Subrequest, SubrequestOptions, Subrequests } from "./types.ts";

/**
 * Subrequests (ngx_http_subrequest): requests for another URI of the same server, made while one is answered. They run
 * through all phases but post-read and access. What one answers goes into the response of its parent, in the place where it was asked
 * for (postpone.ts), or nowhere.
 */

/** How deep they may be nested: NGX_HTTP_MAX_SUBREQUESTS and one. */
const MAX_DEPTH = 51;
/** How many of one request may be under way: nginx's count has 16 bits and keeps 1000 for other purposes. */
const MAX_COUNT = 65_535 - 1000;

/** The subrequests of a main request that are under way. */
class LiveSubrequests implements Subrequests {
  private readonly main: Request;
  private readonly live = new Set<Request>();
  /** What the main request was finalized with while some of them were under way. */
  private finalCode: number | undefined = undefined;
  /** The main request's connection has gone; what it holds is freed after the last of them. */
  private orphaned = false;

  private ordered: Postpone | undefined = undefined;

  constructor(main: Request) {
    this.main = main;
  }

  get count(): number {
    return this.live.size;
  }

  add(request: Request, { parent, options }: Subrequest): void {
    this.live.add(request);
    if (options.background === true) return;
    this.main.onAbort ??= abort;
    if (isListed(options)) this.postpone().add(request, parent);
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
    if (this.main.onAbort === abort) this.main.onAbort = undefined;
    if (this.live.size > 0) return;
    if (this.orphaned) releaseRequest(this.main);
    else if (this.finalCode !== undefined) afterEvent(finalizeMain, this);
  }

  delay(code: number): boolean {
    if (this.live.size === 0) return false;
    const { main } = this;
    this.finalCode = code;
    main.onAbort = undefined;
    main.onWritable = undefined;
    main.exchange.flush();
    return true;
  }

  /** The client has gone: as in nginx the active request ends its work. */
  abort(): void {
    for (const request of this.live) {
      if (request.subrequest?.options.background === true) continue;
      request.aborted = this.main.aborted;
      request.onAbort?.(request);
      return;
    }
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

function finalizeMain(subrequests: LiveSubrequests): void {
  subrequests.finalizeMain();
}

/** Whether what it answers becomes part of the client's response. */
function isListed({ background, headerOnly }: SubrequestOptions): boolean {
  return background !== true && headerOnly !== true;
}

/** Makes a subrequest and has it start when the event at hand is over. Undefined after an error that was logged. */
export function subrequest(
  parent: Request,
  uri: string,
  args: string,
  options: SubrequestOptions,
): Request | undefined {
  const { main } = parent;
  const depth = (parent.subrequest?.depth ?? 0) + 1;
  if (depth > MAX_DEPTH) {
    logError(parent, "error", `subrequests cycle while processing "${uri}"`);
    return undefined;
  }
  main.subrequests ??= new LiveSubrequests(main);
  if (main.subrequests.count >= MAX_COUNT) {
    logError(parent, "crit", `request reference counter overflow while processing "${uri}"`);
    return undefined;
  }
  const carrier = isListed(options) ? new ToParent(main, main.subrequests.postpone()) : new Nowhere(main);
  const request = new Request(parent.connection, carrier, parent.server, parent.headers, newResponse(), 0);
  carrier.carry(request);
  request.main = main;
  request.subrequest = { parent, options, depth };
  request.internal = true;
  // As in nginx, subrequests share the values of variables with their main request.
  request.variables = parent.variables;
  request.remote = parent.remote;
  request.method = options.method ?? GET;
  request.headerOnly = options.headerOnly === true;
  request.requestLine = parent.requestLine;
  request.unparsedUri = parent.unparsedUri;
  request.unparsedValid = false;
  request.uri = uri;
  request.args = args;
  request.exten = extenOf(uri);
  request.version = parent.version;
  request.host = parent.host;
  request.port = parent.port;
  request.startedAt = now();
  request.startedWall = wallNow();
  request.sentAtStart = parent.sentAtStart;
  request.length = parent.length;
  // The client's body is the main request's to read: a subrequest has what was read of it before, or none.
  request.bodyEnded = true;
  request.body = options.noBody === true ? undefined : parent.body;
  request.discardBody = request.body === undefined;
  if (request.body !== undefined) {
    request.contentLength = parent.contentLength;
    request.chunked = parent.chunked;
  }
  main.subrequests.add(request, request.subrequest);
  afterEvent(start, request);
  return request;
}

function start(request: Request): void {
  if (!request.finalized) startPhases(request);
}

/** finalizeRequest of a subrequest: what it answered stays with its parent, and an error that ends it ends all. */
export function finalizeSubrequest(request: Request, { parent, options }: Subrequest, code: number): void {
  const { main, connection } = request;
  const result = options.finalized === undefined ? code : options.finalized(request, code);
  const lost = connection.closed && options.background !== true;
  if (lost || result === ERROR || result === CLIENT_CLOSED_REQUEST || result === 408 || result === CLOSE) {
    finalizeRequest(main, lost ? CLIENT_CLOSED_REQUEST : result);
    return;
  }
  if (result >= 300 || result === 201 || result === 204) {
    if (request.headerSent) finalizeRequest(main, ERROR);
    else finalizeRequest(request, answerStatus(request, result));
    return;
  }
  const postpone = isListed(options) ? main.subrequests?.postpone() : undefined;
  if (request.buffered !== 0 || postpone?.ready(request) === false) {
    finalizeWhenWritten(request);
    return;
  }
  request.finalized = true;
  freeRequest(request);
  main.subrequests?.remove(request);
  postpone?.remove(request, parent);
  if (options.resume !== undefined) afterEvent(options.resume, parent);
}

/**
 * An exception left code at work for a subrequest. It is answered with 500, as any error of a subrequest. Where that
 * fails too, or comes too late, it ends without an answer: a background subrequest alone, any other with the main request.
 */
function failSubrequest(request: Request, error: unknown): void {
  logException(request, error);
  if (request.finalized) return;
  if (!request.headerSent) {
    try {
      if (request.upstream?.ended === false) {
        request.upstream.keepalive = false;
        request.upstream.finalize(500);
      } else {
        finalizeRequest(request, 500);
      }
      return;
    } catch (second) {
      logException(request, second);
    }
  }
  const { main } = request;
  if (!request.finalized) {
    dropSubrequest(request);
    main.subrequests?.remove(request);
  }
  if (request.subrequest?.options.background === true) return;
  finalizeRequest(main, main.headerSent ? ERROR : 500);
}

/** Ends a subrequest where it stands. */
function dropSubrequest(request: Request): void {
  request.finalized = true;
  if (request.upstream?.ended === false) request.upstream.abandon();
  freeRequest(request);
}

/** Carries a subrequest whose answer goes nowhere. It has no connection of its own, and no body that is yet to come. */
class Nowhere implements Exchange {
  readonly tunnel = undefined;
  protected readonly main: Request;
  protected carried: Request | undefined = undefined;

  constructor(main: Request) {
    this.main = main;
  }

  /** The one request that is carried. */
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
    if (this.carried !== undefined) failSubrequest(this.carried, error);
  }

  terminate(): void {
    finalizeRequest(this.main, ERROR);
  }
}

/** Carries a subrequest whose body is part of the client's response. */
class ToParent extends Nowhere {
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
