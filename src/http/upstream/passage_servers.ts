import type { Attempt } from "../../balancer/attempt.ts";
import type { Outcome, Peer } from "../../balancer/peer.ts";
import type { Pool } from "../../balancer/pool.ts";
import type { QueuePlace, QueueUser } from "../../balancer/queue.ts";
import { now } from "../../sys/clock.ts";
import { CLIENT_CLOSED_REQUEST } from "../core/codes.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import type { BodySink } from "../core/types.ts";
import type { AnswerHead, RequestCache } from "../core/upstream.ts";
import { connectionTo } from "./connection_choice.ts";
import type { KeptBody } from "./kept_body.ts";
import { conditionOf, isFailure, isRepeatable, statusOf } from "./next_upstream.ts";
import { type BoundClient, boundClient } from "./ntlm.ts";
import type { UpstreamTarget } from "./protocol.ts";
import type { ConnectionUser, ServerExchange } from "./server_exchange.ts";
import { addState, markPassage, NO_STATE, UpstreamState } from "./variables.ts";

/** How often a server may refuse a request unprocessed before that counts as a try. */
const MOST_REFUSALS = 3;

/**
 * On how many connections that had carried others it may fail before it gets a new one. nginx goes through all that are idle, which
 * need not come to an end: a request that its server dies of would find one that others have just left, or share one with them.
 */
const MOST_STALE = 3;

/**
 * The servers of a request's passage: the one that is at work on it, the request's body on its way there, and the next one if
 * proxy_next_upstream allows it, or what the cache has instead. UpstreamRequest is made of it rather than has it: one object a
 * request.
 */
export abstract class PassageServers implements ConnectionUser, BodySink, QueueUser {
  readonly request: Request;
  readonly target: UpstreamTarget;
  /** The last answer's head, for $upstream_http_* after the connection was reused. */
  head: AnswerHead | undefined = undefined;
  /** The server tried last. */
  present: UpstreamState = NO_STATE;
  kept: KeptBody | undefined = undefined;
  /** How often a server has refused the request. */
  private refusals = 0;
  private stale = 0;
  /** The passage is over: the attempt was given back. */
  ended = false;
  readonly attempt: Attempt;
  protected readonly cache: RequestCache | undefined;
  /** Where proxy_next_upstream_timeout asks for it. */
  private readonly startedAt: number;
  private peer: Peer | undefined = undefined;
  /** Its client's requests have a connection of their own (`ntlm`). */
  private readonly bound: BoundClient | undefined;
  /** While it waits for a server. */
  private place: QueuePlace | undefined = undefined;
  private connection: ServerExchange | undefined = undefined;
  /** The connection that is back in the pool while its head is still used by this request. */
  private lent: ServerExchange | undefined = undefined;

  constructor(request: Request, target: UpstreamTarget, preferred: number) {
    this.request = request;
    this.target = target;
    this.cache = request.cache;
    const { nextTries, nextTimeout } = target.settings;
    this.startedAt = nextTimeout === 0 ? 0 : now();
    markPassage(request);
    const { group, sticky } = target.upstream;
    this.bound = group.ntlm ? boundClient(request, group) : undefined;
    this.attempt = group.begin(target, this.bound?.preferred(group.peers) ?? preferred, sticky?.begin(request));
    if (nextTries > 0) this.attempt.tries = Math.min(this.attempt.tries, nextTries);
  }

  // ---- the passage

  abstract onHead(connection: ServerExchange, bytes: Buffer): void;
  abstract finalize(code: number): void;
  abstract onFault(error: unknown): void;
  /** Releases what the passage holds besides the server, and the request's callbacks. */
  protected abstract cleanUp(): void;
  /** The server is about to be released: nothing more comes of its answer. */
  protected abstract detachAnswer(): void;

  // ---- the server at work

  get shown(): string | undefined {
    if (this.ended) return undefined;
    return `${this.target.scheme}${this.peer?.name ?? this.target.upstream.group.name}${this.target.uri}`;
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

  /** It is connected to a server, or connecting. */
  protected get connected(): boolean {
    return this.connection !== undefined;
  }

  /** No server is at work, or its answer's head has been passed on. */
  protected get answered(): boolean {
    return this.connection?.answered !== false;
  }

  /** Where its connection comes from, and goes back to. */
  private get pool(): Pool | undefined {
    return this.bound === undefined ? this.target.upstream.pool : this.bound.pool;
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
      this.fail("error", 502);
      return;
    }
    this.peer = peer;
    this.bound?.chosen(peer);
    const connection = connectionTo(peer, target, request, this.pool, this.stale >= MOST_STALE);
    this.connection = connection;
    this.head = connection.reader.head;
    connection.begin(this);
  }

  /** Whether proxy_next_upstream and what has been sent allow another server. */
  private mayRepeat(condition: string): boolean {
    const { next, nextTimeout } = this.target.settings;
    if (!next.has(condition)) return false;
    const { connection } = this;
    const repeatable = isRepeatable(this.request.method, this.target.settings);
    if (connection?.sender.mayMove(repeatable, connection.refused) === false) return false;
    return nextTimeout === 0 || now() - this.startedAt < nextTimeout;
  }

  /** Tries another server if the answer's status says so (ngx_http_upstream_test_next), or has the cache answer. */
  protected tryNext(status: number): boolean {
    const condition = conditionOf(status);
    if (condition === undefined) return false;
    if (this.attempt.tries > 1 && this.mayRepeat(condition)) {
      this.nextUpstream(condition);
      return true;
    }
    if (this.cache?.replaces(condition) !== true) return false;
    this.serveStored(this.cache);
    return true;
  }

  /** The current server failed: tries another one, or answers with an error (ngx_http_upstream_next). */
  nextUpstream(condition: string): void {
    const { request, present, attempt } = this;
    const again = this.mayRepeat(condition);
    // A pooled connection that turns out to be closed, or to take no more requests, says nothing about the server.
    const refused = this.connection?.refused === true;
    const stale = condition === "error" && this.connection?.reused === true;
    if (refused && again && this.kept?.started === true && !request.bodyEnded) request.exchange.pauseBody();
    this.releaseServer(isFailure(condition) && !refused ? "failed" : "next");
    if (refused ? ++this.refusals <= MOST_REFUSALS : stale) attempt.tries++;
    if (stale) this.stale++;
    const status = statusOf(condition);
    present.status = status;
    if (request.connection.closed && !this.target.settings.ignoreClientAbort && !request.postAction) {
      this.finalize(CLIENT_CLOSED_REQUEST);
    } else if (attempt.tries <= 0 || !again) {
      this.fail(condition, status);
    } else {
      this.connect();
    }
  }

  /** No other server is tried after `condition`. */
  private fail(condition: string, status: number): void {
    if (this.cache?.replaces(condition) === true) this.serveStored(this.cache);
    else this.finalize(status);
  }

  /** Ends the passage: the cache answers. */
  protected serveStored(cache: RequestCache): void {
    this.releaseServer("ok");
    this.keepHead();
    this.cleanUp();
    cache.serve();
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
    this.detachAnswer();
    if (connection.release(target.settings.place, this.pool, outcome === "ok")) this.lent = connection;
  }

  /** What is being done, for the error log. */
  get doing(): string {
    if (this.place !== undefined) return "waiting in upstream queue";
    return this.connection?.doing ?? "reading upstream";
  }

  keepHead(): void {
    const reader = this.lent?.reader;
    if (reader !== undefined && reader.head === this.head) reader.leaveHead();
    this.lent = undefined;
  }

  /** The request does not need the head any more. */
  protected dropHead(): void {
    this.lent = undefined;
  }

  /** Ends the passage, once. */
  protected leaveServers(): void {
    this.place?.leave();
    this.place = undefined;
    if (!this.ended) this.target.upstream.group.end(this.attempt);
    this.ended = true;
    if (this.request.bodySink === this) this.request.bodySink = undefined;
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
}
