import type { HeaderList } from "../../wire/http1/header_list.ts";
import { CLIENT_CLOSED_REQUEST, DONE, ERROR, OK } from "../core/codes.ts";
import { finalizeRequest, sendHeader } from "../core/engine.ts";
import { logClientGone, logError, logException } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import type { AnswerHead, UpstreamHooks, UpstreamPassage } from "../core/upstream.ts";
import { HeadWait } from "./head_wait.ts";
import { bufferingOf, copyRedirectFields, copyResponse } from "./headers.ts";
import { PassageServers } from "./passage_servers.ts";
import { choosePeer } from "./peer_choice.ts";
import type { UpstreamTarget } from "./protocol.ts";
import { isIntercepted, redirectOf, serveInstead } from "./replaced_answer.ts";
import { type PipeOwner, ResponsePipe } from "./response_pipe.ts";
import type { ServerExchange } from "./server_exchange.ts";
import { UpstreamTunnel } from "./tunnel.ts";

type HeadHooks = NonNullable<UpstreamHooks["head"]>;

/** Passes a request on to a server, and the answer back. */
export function passToUpstream(request: Request, target: UpstreamTarget): void {
  const hooks = request.location.upstreamHooks?.peer;
  if (hooks === undefined) start(request, target, -1);
  else choosePeer(request, target, hooks, start);
}

function start(request: Request, target: UpstreamTarget, preferred: number): void {
  const upstream = new UpstreamRequest(request, target, preferred);
  request.upstream = upstream;
  request.onAbort = target.settings.ignoreClientAbort || request.cache?.cacheable === true ? abortLate : abort;
  upstream.connect();
}

/**
 * A request's passage through an upstream (ngx_http_upstream.c): decides what to do with a server's answer, has it passed on,
 * ends. Which servers are tried is PassageServers', the exchange with one the connection's, the answer's body the pipe's.
 */
class UpstreamRequest extends PassageServers implements UpstreamPassage, PipeOwner {
  private readonly hooks: UpstreamHooks | undefined;
  /** Passes on what follows the answer's head. */
  private pipe: ResponsePipe | undefined = undefined;
  private tunnel: UpstreamTunnel | undefined = undefined;
  /** An error page takes the place of the answer, or the URI of its X-Accel-Redirect. */
  private intercepted = false;
  private redirect: string | undefined = undefined;
  /** A hook of the head has it wait. */
  private wait: HeadWait | undefined = undefined;

  constructor(request: Request, target: UpstreamTarget, preferred: number) {
    super(request, target, preferred);
    this.hooks = request.location.upstreamHooks;
  }

  get trailers(): HeaderList | undefined {
    return this.pipe?.trailers;
  }

  // ---- the answer

  onHead(connection: ServerExchange, bytes: Buffer): void {
    const { present, target } = this;
    const { reader } = connection;
    const { head } = reader;
    present.status = head.status;
    present.headerTime = present.elapsed();
    target.upstream.group.header(this.attempt);
    reader.frame(target.headRequest, reader.pos < bytes.length);
    const { cache } = this;
    cache?.takeHead(head);
    if (head.status >= 300) {
      if (this.tryNext(head.status)) return;
      if (cache?.confirmed() === true) {
        this.serveStored(cache);
        return;
      }
      this.intercepted = isIntercepted(this.request, head, target.settings);
    }
    if (!this.intercepted) {
      this.attempt.binding?.header();
      this.redirect = redirectOf(head, target.settings);
      if (this.redirect === undefined) this.prepare(connection, head);
    }
    const hooks = this.hooks?.head;
    if (hooks === undefined || this.callHead(hooks, 0, connection, bytes)) this.respond(connection, bytes);
  }

  /** Makes the response from the answer's head. */
  private prepare(connection: ServerExchange, head: AnswerHead): void {
    const { request, target } = this;
    if (head.version === 9) request.version = 9;
    if (head.status === 101) {
      connection.keepalive = false;
      if (this.upgrades(head)) this.cache?.end(0);
      // A 101 that nobody asked for: what follows could be anything.
      else request.keepalive = false;
    }
    copyResponse(request, head, target.rules, target.settings);
  }

  /** The hooks have agreed: sends the response, or what takes its place. */
  private respond(connection: ServerExchange, bytes: Buffer): void {
    const { head } = connection.reader;
    if (this.intercepted) {
      this.cache?.intercepted();
      this.finalize(head.status);
    } else if (this.redirect !== undefined) {
      this.serveOther(this.redirect, head);
    } else {
      this.send(connection, bytes);
    }
  }

  private upgrades({ status }: AnswerHead): boolean {
    return status === 101 && this.request.headers.has("upgrade") && !this.request.postAction;
  }

  /** Calls the hooks of the head from the one at `first` on. False: the response waits, or the passage is over. */
  private callHead(hooks: HeadHooks, first: number, connection: ServerExchange, bytes: Buffer): boolean {
    for (let i = first; i < hooks.length; i++) {
      const code = hooks[i](this.request);
      if (code === OK) continue;
      if (code !== DONE) {
        this.finalize(code);
      } else if (!this.ended) {
        this.wait ??= new HeadWait(connection, bytes);
        this.wait.next = i + 1;
      }
      return false;
    }
    return true;
  }

  proceed(): void {
    const { wait } = this;
    const hooks = this.hooks?.head;
    if (wait === undefined || hooks === undefined || wait.next === 0) return;
    const { connection, bytes, next } = wait;
    wait.next = 0;
    if (!this.callHead(hooks, next, connection, bytes)) return;
    this.wait = undefined;
    wait.end();
    this.respond(connection, bytes);
    if (!this.ended) wait.replay();
  }

  /** Sends the response: its head, and what has come of its body. */
  private send(connection: ServerExchange, bytes: Buffer): void {
    const { request, target } = this;
    const { settings } = target;
    const { head } = connection.reader;
    if (this.upgrades(head)) {
      this.upgrade(connection, bytes);
      return;
    }
    const buffering = head.xAccelBuffering === undefined ? settings.buffering : bufferingOf(head, settings);
    if (!buffering) request.limitRate = 0;
    const pipe = new ResponsePipe(this, connection, settings, buffering, this.hooks?.body);
    this.pipe = pipe;
    connection.passTo(pipe);
    if (!this.sendHead()) return;
    if (!buffering) this.cache?.end(0);
    const kept = pipe.keep(buffering ? this.cache : undefined);
    if (request.headerOnly) {
      if (!kept) {
        this.finalize(OK);
        return;
      }
      // Its client need not wait until all of the body is kept.
      request.exchange.flush();
      pipe.loseClient();
    } else if (!kept && request.aborted && !settings.ignoreClientAbort) {
      this.clientGone();
      return;
    }
    // proxy_method HEAD: the client would wait for the body that the head announces.
    if (target.headRequest && !request.headerOnly && head.contentLength > 0) request.incomplete = true;
    pipe.begin(bytes);
  }

  private upgrade(connection: ServerExchange, bytes: Buffer): void {
    const { request, target } = this;
    const client = request.exchange.tunnel;
    if (client === undefined) {
      logError(request, "error", "connection upgrade in subrequest");
      this.finalize(ERROR);
      return;
    }
    const tunnel = new UpstreamTunnel(this, client, connection, target.settings.readTimeout);
    this.tunnel = tunnel;
    connection.passTo(tunnel);
    if (this.sendHead()) tunnel.begin(bytes, connection.reader.pos);
  }

  private sendHead(): boolean {
    const { request } = this;
    // The server has seen the request's conditions itself.
    request.disableNotModified = this.cache?.cacheable !== true;
    const code = sendHeader(request);
    if (code === OK) {
      request.onWritable = writable;
      return true;
    }
    this.finalize(code);
    return false;
  }

  /** X-Accel-Redirect: serves another URI instead of this answer. */
  private serveOther(to: string, head: AnswerHead): void {
    const { request, target } = this;
    copyRedirectFields(request, head, target.settings);
    this.releaseServer("ok");
    this.keepHead();
    this.cleanUp();
    this.cache?.end(0);
    serveInstead(request, to);
  }

  // ---- the end

  /**
   * Ends the passage: releases what it holds, and finalizes the request with `code`
   * (ngx_http_upstream_finalize_request).
   */
  finalize(code: number): void {
    const { request } = this;
    if (code === CLIENT_CLOSED_REQUEST || code === ERROR) this.keepalive = false;
    this.releaseServer("ok");
    this.cleanUp();
    // An error page may be had over the same connection.
    if (!request.headerSent) this.keepHead();
    this.cache?.end(code);
    finalizeRequest(request, code >= 300 && request.headerSent && !request.postAction ? ERROR : code);
    if (!request.logged) this.keepHead();
    this.dropHead();
  }

  abandon(): void {
    this.keepalive = false;
    this.releaseServer("ok");
    this.cleanUp();
  }

  /** Releases what the passage holds, and the request's callbacks. */
  protected cleanUp(): void {
    const { request } = this;
    this.pipe?.close();
    this.wait = undefined;
    const hooks = this.ended ? undefined : this.hooks?.end;
    this.leaveServers();
    // An error page may have been passed to another upstream already.
    if (request.upstream === this) {
      request.onAbort = undefined;
      request.onWritable = undefined;
    }
    if (hooks !== undefined) this.callEnd(hooks);
  }

  private callEnd(hooks: NonNullable<UpstreamHooks["end"]>): void {
    for (const hook of hooks) {
      try {
        hook(this.request, this.pipe?.answerEnded === true);
      } catch (error) {
        logException(this.request, error);
      }
    }
  }

  protected detachAnswer(): void {
    this.pipe?.detach();
    this.tunnel?.detach();
  }

  onFault(error: unknown): void {
    this.keepalive = false;
    this.request.exchange.onFault(error);
  }

  // ---- the client

  writable(): void {
    if (this.pipe !== undefined) this.pipe.onWritable();
    else this.tunnel?.onClientDrain();
  }

  /** With proxy_ignore_client_abort the server's answer is awaited although nobody takes it; to be stored, it is also read. */
  clientLost(): void {
    if (this.answered && this.wait === undefined && this.pipe?.loseClient() !== true) this.clientGone();
  }

  clientGone(): void {
    if (this.tunnel !== undefined) {
      this.finalize(OK);
      return;
    }
    const too = this.connected ? ", so upstream connection is closed too" : "";
    logClientGone(this.request, `${too} while ${this.doing}`);
    this.finalize(CLIENT_CLOSED_REQUEST);
  }
}

function writable(request: Request): void {
  request.upstream?.writable();
}

function abort(request: Request): void {
  request.upstream?.clientGone();
}

/** A client that has only half-closed still gets its answer. */
function abortLate(request: Request): void {
  if (request.aborted) request.upstream?.clientLost();
}
