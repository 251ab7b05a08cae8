import { now } from "../../sys/clock.ts";
import { afterEvent } from "../../sys/guard.ts";
import { extenOf } from "../../wire/uri.ts";
import { CLIENT_CLOSED_REQUEST, CLOSE, ERROR } from "./codes.ts";
import { answerStatus, finalizeRequest, finalizeWhenWritten, runPhases, startPhases } from "./engine.ts";
import { freeRequest } from "./free_request.ts";
import { logError, logException } from "./log_context.ts";
import { GET, Request } from "./request.ts";
import { newResponse } from "./response.ts";
import { Nowhere, ToMemory, ToParent } from "./subrequest_exchange.ts";
import { dropSubrequest, LiveSubrequests } from "./subrequests.ts";
import type { Subrequest, SubrequestOptions, Subrequests } from "./types.ts";

/**
 * Subrequests (ngx_http_subrequest): requests for another URI of the same server, made while one is answered. They run
 * through all phases but post-read and access. What one answers goes nowhere, into memory, or into the response of its
 * parent at the place where it was made (postpone.ts).
 */

/** How deep they may be nested: NGX_HTTP_MAX_SUBREQUESTS and one. */
const MAX_DEPTH = 51;
/** How many of one main request may be under way: nginx's counter has 16 bits and keeps 1000 for other purposes. */
const MAX_COUNT = 65_535 - 1000;

/**
 * Makes a subrequest, which starts when the event being handled is over. Undefined after an error, which was logged.
 */
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
  if (parent.subrequest?.options.memory !== undefined) {
    logError(parent, "error", `nested in-memory subrequest "${uri}"`);
    return undefined;
  }
  main.subrequests ??= new LiveSubrequests(main);
  if (main.subrequests.count >= MAX_COUNT) {
    logError(parent, "crit", `request reference counter overflow while processing "${uri}"`);
    return undefined;
  }
  const own = new RunningSubrequest(parent, options, depth);
  const carrier = carrierOf(main, own, main.subrequests);
  const request = new Request(parent.connection, carrier, parent.server, parent.headers, newResponse(), 0);
  carrier.carry(request);
  request.main = main;
  request.subrequest = own;
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
  request.sentAtStart = parent.sentAtStart;
  request.length = parent.length;
  // Only the main request reads the client's body: a subrequest has what was read of it before, or none.
  request.bodyEnded = true;
  request.body = options.noBody === true ? undefined : parent.body;
  request.discardBody = request.body === undefined;
  // A clone of a request whose body is passed on as it comes has lost it: it must not look as if there had been none.
  if (request.body !== undefined || (options.clone === true && parent.bodyStarted)) {
    request.contentLength = parent.contentLength;
    request.chunked = parent.chunked;
  }
  if (options.clone === true) {
    request.method = parent.method;
    request.location = parent.location;
    request.validLocation = parent.validLocation;
    request.unparsedValid = parent.unparsedValid;
    request.phase = parent.phase;
    request.step = parent.step;
    request.captures = parent.captures;
  }
  main.subrequests.add(request, own);
  afterEvent(options.clone === true ? runPhases : start, request);
  return request;
}

function carrierOf(main: Request, { inResponse, options }: Subrequest, subrequests: Subrequests): Nowhere {
  if (inResponse) return new ToParent(main, subrequests.postpone());
  return options.memory === undefined ? new Nowhere(main) : new ToMemory(main, options.memory);
}

function start(request: Request): void {
  if (!request.finalized) startPhases(request);
}

class RunningSubrequest implements Subrequest {
  readonly parent: Request;
  readonly options: SubrequestOptions;
  readonly depth: number;
  readonly inResponse: boolean;

  constructor(parent: Request, options: SubrequestOptions, depth: number) {
    this.parent = parent;
    this.options = options;
    this.depth = depth;
    this.inResponse = options.background !== true && options.headerOnly !== true && options.memory === undefined;
  }

  finalize(request: Request, code: number): void {
    const { parent, options } = this;
    const { main, connection } = request;
    const result = options.finalized === undefined ? code : options.finalized(request, code);
    const lost = connection.closed && options.background !== true;
    if (lost || result === ERROR || result === CLIENT_CLOSED_REQUEST || result === 408 || result === CLOSE) {
      this.breakOff(request, lost ? CLIENT_CLOSED_REQUEST : result);
      return;
    }
    if (result >= 300 || result === 201 || result === 204) {
      if (request.headerSent) this.breakOff(request, ERROR);
      else finalizeRequest(request, answerStatus(request, result));
      return;
    }
    const postpone = this.inResponse ? main.subrequests?.postpone() : undefined;
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

  /** An error that ends the main request as well, if that is not over already. */
  private breakOff(request: Request, code: number): void {
    const { main } = request;
    dropSubrequest(request);
    main.subrequests?.remove(request);
    finalizeRequest(main, code);
  }

  fail(request: Request, error: unknown): void {
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
    if (this.options.background === true) return;
    finalizeRequest(main, main.headerSent ? ERROR : 500);
  }
}
