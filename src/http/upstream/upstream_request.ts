import type { Attempt } from "../../balancer/attempt.ts";
import type { Outcome, Peer } from "../../balancer/peer.ts";
import type { Pool } from "../../balancer/pool.ts";
import type { QueuePlace, QueueUser } from "../../balancer/queue.ts";
import { now } from "../../sys/clock.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import { CLIENT_CLOSED_REQUEST, ERROR, OK } from "../core/codes.ts";
import { finalizeRequest, sendHeader } from "../core/engine.ts";
import { logError, logException } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import type { BodySink } from "../core/types.ts";
import type { AnswerHead, RequestCache, UpstreamHooks, UpstreamPassage } from "../core/upstream.ts";
import { connectionTo } from "./connection_choice.ts";
import { bufferingOf, copyRedirectFields, copyResponse } from "./headers.ts";
import { conditionOf, isFailure, isRepeatable, statusOf } from "./next_upstream.ts";
import { type BoundClient, boundClient } from "./ntlm.ts";
import { choosePeer } from "./peer_choice.ts";
import type { UpstreamTarget } from "./protocol.ts";
import { isIntercepted, redirectOf, serveInstead } from "./replaced_answer.ts";
import { type PipeOwner, ResponsePipe } from "./response_pipe.ts";
import type { ConnectionUser, ServerConnection } from "./server_connection.ts";
import { UpstreamTunnel } from "./tunnel.ts";
import { addState, markPassage, NO_STATE, UpstreamState } from "./variables.ts";

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
 * A request's passage through an upstream (ngx_http_upstream.c): chooses a server, and the next one if
 * proxy_next_upstream allows it; decides what to do with the answer; ends. The exchange with a server is the
 * connection's, the answer's body the pipe's.
 */
class UpstreamRequest implements UpstreamPassage, ConnectionUser, PipeOwner, BodySink, QueueUser {
  readonly request: Request;
  readonly target: UpstreamTarget;
  /** The last answer's head, for $upstream_http_* after the connection was reused. */
  head: AnswerHead | undefined = undefined;
  /** The server tried last. */
  present: UpstreamState = NO_STATE;
  /** The passage is over: the attempt was given back. */
  ended = false;
  private readonly hooks: UpstreamHooks | undefined;
  private readonly cache: RequestCache | undefined;
  /** Where proxy_next_upstream_timeout asks for it. */
  private readonly startedAt: number;
  readonly attempt: Attempt;
  private peer: Peer | undefined = undefined;
  /** Its client's requests have a connection of their own (`ntlm`). */
  private readonly bound: BoundClient | undefined;
  /** While it waits for a server. */
  private place: QueuePlace | undefined = undefined;
  private connection: ServerConnection | undefined = undefined;
  /** The connection that is back in the pool while its head is still used by this request. */
  private lent: ServerConnection | undefined = undefined;
  /** Passes on what follows the answer's head. */
  private pipe: ResponsePipe | undefined = undefined;
  private tunnel: UpstreamTunnel | undefined = undefined;

  constructor(request: Request, target: UpstreamTarget, preferred: number) {
    this.request = request;
    this.target = target;
    this.hooks = request.location.upstreamHooks;
    this.cache = request.cache;
    const { nextTries, nextTimeout } = target.settings;
    this.startedAt = nextTimeout === 0 ? 0 : now();
    markPassage(request);
    const { group, sticky } = target.upstream;
    this.bound = group.ntlm ? boundClient(request, group) : undefined;
    this.attempt = group.begin(target, this.bound?.preferred(group.peers) ?? preferred, sticky?.begin(request));
    if (nextTries > 0) this.attempt.tries = Math.min(this.attempt.tries, nextTries);
  }

  /** Where its connection comes from, and goes back to. */
  private get pool(): Pool | undefined {
    return this.bound === undefined ? this.target.upstream.pool : this.bound.pool;
  }

  get shown(): string | undefined {
    if (this.ended) return undefined;
    return `${this.target.scheme}${this.peer?.name ?? this.target.upstream.group.name}${this.target.uri}`;
  }

  get trailers(): HeaderList | undefined {
    return this.pipe?.trailers;
  }

  get server(): Peer | undefined {
    return this.peer;
  }

  get keepalive(): boolean {
    return this.connection?.keepalive === true;
  }

  set keepalive(on: boolean) {
    if (this.connection !== undefined) this.connection.keepalive = on;
  }

  // ---- servers

  /** Chooses a server and has the request sent to it. */
  connect(): void {
    const { group } = this.target.upstream;
    const { queue } = group;
    if (queue === undefined) {
      this.connectTo(group.next(this.attempt));
      return;
    }
    // A request that failed on a server does not wait for others.
    const first = this.present === NO_STATE;
    const peer = first && queue.engaged ? undefined : group.next(this.attempt);
    if (first && peer === undefined) this.place = queue.join(this);
    if (this.place === undefined) this.connectTo(peer);
  }

  onPeer(peer: Peer): void {
    this.place = undefined;
    this.connectTo(peer);
  }

  onQueueTimeout(): void {
    this.place = undefined;
    this.connectTo(undefined);
  }

  private connectTo(peer: Peer | undefined): void {
    const { target, request } = this;
    const { group } = target.upstream;
    const state = new UpstreamState(peer === undefined ? group.name : peer.name);
    addState(request, state);
    this.present = state;
    if (peer === undefined) {
      logError(request, "error", "no live upstreams while connecting to upstream");
      state.status = 502;
      state.responseTime = state.elapsed();
      // NGX_HTTP_UPSTREAM_FT_NOLIVE: `error` of …_cache_use_stale has it in it.
      if (this.cache?.replaces("error") === true) this.serveStored(this.cache);
      else this.finalize(502);
      return;
    }
    this.peer = peer;
    this.bound?.chosen(peer);
    const connection = connectionTo(peer, target, request, this.pool);
    this.connection = connection;
    this.head = connection.reader.head;
    connection.begin(this);
  }

  /** Whether proxy_next_upstream and what has been sent allow another server. */
  private mayRepeat(condition: string): boolean {
    const { next, nextTimeout } = this.target.settings;
    if (!next.has(condition)) return false;
    const repeatable = isRepeatable(this.request.method, this.target.settings);
    if (this.connection?.sender.mayMove(repeatable) === false) return false;
    return nextTimeout === 0 || now() - this.startedAt < nextTimeout;
  }

  /** The current server failed: tries another one, or answers with an error (ngx_http_upstream_next). */
  nextUpstream(condition: string): void {
    const { request, present, attempt } = this;
    const again = this.mayRepeat(condition);
    // A pooled connection that turns out to be closed says nothing about the server.
    const stale = condition === "error" && this.connection?.reused === true;
    this.releaseServer(isFailure(condition) ? "failed" : "next");
    if (stale) attempt.tries++;
    const status = statusOf(condition);
    present.status = status;
    if (request.connection.closed && !this.target.settings.ignoreClientAbort && !request.postAction) {
      this.finalize(CLIENT_CLOSED_REQUEST);
    } else if (attempt.tries <= 0 || !again) {
      if (this.cache?.replaces(condition) === true) this.serveStored(this.cache);
      else this.finalize(status);
    } else {
      this.connect();
    }
  }

  /** Releases the server: its connection goes back to the pool if it can be reused. */
  releaseServer(outcome: Outcome): void {
    const { connection, peer, target, present, attempt } = this;
    if (peer === undefined) return;
    if (present.responseTime < 0) present.responseTime = present.elapsed();
    target.upstream.group.release(attempt, outcome);
    if (attempt.disabled) {
      logError(this.request, "warn", `upstream server temporarily disabled while ${this.doing}`);
    }
    this.peer = undefined;
    if (connection === undefined) return;
    this.connection = undefined;
    this.pipe?.detach();
    this.tunnel?.detach();
    if (connection.release(target.settings.place, this.pool, outcome === "ok")) this.lent = connection;
  }

  private get doing(): string {
    if (this.place !== undefined) return "waiting in upstream queue";
    return this.connection?.doing ?? "reading upstream";
  }

  // ---- the answer

  onHead(connection: ServerConnection, bytes: Buffer): void {
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
      if (this.tryNext(head)) return;
      if (cache?.confirmed() === true) {
        this.serveStored(cache);
        return;
      }
      if (isIntercepted(this.request, head, target.settings)) {
        cache?.intercepted();
        this.finalize(head.status);
        return;
      }
    }
    this.attempt.binding?.header();
    const redirect = redirectOf(head, target.settings);
    if (redirect === undefined) this.sendResponse(connection, head, bytes);
    else this.redirect(redirect, head);
  }

  /** Tries another server if the answer's status says so (ngx_http_upstream_test_next). */
  private tryNext(head: AnswerHead): boolean {
    const condition = conditionOf(head.status);
    if (condition === undefined) return false;
    if (this.attempt.tries > 1 && this.mayRepeat(condition)) {
      this.nextUpstream(condition);
      return true;
    }
    if (this.cache?.replaces(condition) !== true) return false;
    this.serveStored(this.cache);
    return true;
  }

  /** Ends the passage: the cache answers. */
  private serveStored(cache: RequestCache): void {
    this.releaseServer("ok");
    this.keepHead();
    this.cleanUp();
    cache.serve();
  }

  /** Passes the answer on: its head, and what has come of its body. */
  private sendResponse(connection: ServerConnection, head: AnswerHead, bytes: Buffer): void {
    const { request, target } = this;
    const { settings } = target;
    if (head.version === 9) request.version = 9;
    if (head.status === 101) {
      connection.keepalive = false;
      if (request.headers.has("upgrade") && !request.postAction) {
        this.upgrade(connection, head, bytes);
        return;
      }
      // A 101 that nobody asked for: what follows could be anything.
      request.keepalive = false;
    }
    if (!this.copyHead(head)) return;
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
    if (target.headRequest && head.contentLength > 0) request.incomplete = true;
    pipe.begin(bytes);
  }

  private upgrade(connection: ServerConnection, head: AnswerHead, bytes: Buffer): void {
    const { request, target } = this;
    this.cache?.end(0);
    if (!this.copyHead(head)) return;
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

  /** Makes the response from the answer's head. False if a hook has ended the passage. */
  private copyHead(head: AnswerHead): boolean {
    const { request, target, hooks } = this;
    copyResponse(request, head, target.rules, target.settings);
    if (hooks?.head === undefined) return true;
    for (const hook of hooks.head) {
      const code = hook(request);
      if (code === OK) continue;
      this.finalize(code);
      return false;
    }
    return true;
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
  private redirect(to: string, head: AnswerHead): void {
    const { request, target } = this;
    copyRedirectFields(request, head, target.settings);
    this.releaseServer("ok");
    this.keepHead();
    this.cleanUp();
    this.cache?.end(0);
    serveInstead(request, to);
  }

  // ---- the end

  keepHead(): void {
    const reader = this.lent?.reader;
    if (reader !== undefined && reader.head === this.head) reader.leaveHead();
    this.lent = undefined;
  }

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
    this.lent = undefined;
  }

  abandon(): void {
    this.keepalive = false;
    this.releaseServer("ok");
    this.cleanUp();
  }

  /** Releases what the passage holds, and the request's callbacks. */
  private cleanUp(): void {
    const { request } = this;
    this.place?.leave();
    this.place = undefined;
    this.pipe?.close();
    const hooks = this.ended ? undefined : this.hooks?.end;
    if (!this.ended) this.target.upstream.group.end(this.attempt);
    this.ended = true;
    if (request.bodySink === this) request.bodySink = undefined;
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

  onFault(error: unknown): void {
    this.keepalive = false;
    this.request.exchange.onFault(error);
  }

  // ---- a request body passed on as it comes

  startBody(): void {
    const { request } = this;
    request.bodySink = this;
    request.exchange.startBody(request);
  }

  onBody(bytes: Buffer): void {
    this.connection?.sender.onBody(bytes);
  }

  onBodyEnd(): void {
    this.connection?.sender.onBodyEnd();
  }

  onBodyError(status: number): void {
    this.finalize(status);
  }

  // ---- the client

  writable(): void {
    if (this.pipe !== undefined) this.pipe.onWritable();
    else this.tunnel?.onClientDrain();
  }

  /** With proxy_ignore_client_abort the server's answer is awaited although nobody takes it; to be stored, it is also read. */
  clientLost(): void {
    if (this.connection?.answered !== false && this.pipe?.loseClient() !== true) this.clientGone();
  }

  clientGone(): void {
    if (this.tunnel !== undefined) {
      this.finalize(OK);
      return;
    }
    const too = this.connection === undefined ? "" : ", so upstream connection is closed too";
    const sentence = `epoll_wait() reported that client prematurely closed connection${too} while ${this.doing}`;
    logError(this.request, "info", sentence);
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
