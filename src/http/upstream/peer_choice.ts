import type { Peer } from "../../balancer/peer.ts";
import { CLIENT_CLOSED_REQUEST, DONE, OK } from "../core/codes.ts";
import { finalizeRequest } from "../core/engine.ts";
import { logClientGone } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import type { PeerChoice, UpstreamHooks } from "../core/upstream.ts";
import type { UpstreamTarget } from "./protocol.ts";

type PeerHooks = NonNullable<UpstreamHooks["peer"]>;
/** Passes the request to a server; `preferred` is an index, or -1. */
type Connect = (request: Request, target: UpstreamTarget, preferred: number) => void;

/** Asks the hooks for the server that the request should go to, and calls `connect`, perhaps at once. */
export function choosePeer(request: Request, target: UpstreamTarget, hooks: PeerHooks, connect: Connect): void {
  // The state of an earlier passage must not be taken for this one's.
  request.upstream = undefined;
  new Choice(request, target, hooks, connect).run();
}

class Choice implements PeerChoice {
  preferred = -1;
  /** Those that `preferred` is one of, whatever becomes of them while a hook thinks. */
  readonly peers: readonly Peer[];
  private readonly request: Request;
  private readonly target: UpstreamTarget;
  private readonly hooks: PeerHooks;
  private readonly connect: Connect;
  private next = 0;
  private waiting = false;

  constructor(request: Request, target: UpstreamTarget, hooks: PeerHooks, connect: Connect) {
    this.request = request;
    this.target = target;
    this.hooks = hooks;
    this.connect = connect;
    this.peers = target.upstream.group.peers;
  }

  run(): void {
    const { request, hooks } = this;
    while (this.next < hooks.length) {
      const code = hooks[this.next++](request, this);
      if (code === OK) continue;
      if (code === DONE) {
        this.waiting = true;
        if (!this.target.settings.ignoreClientAbort) request.onAbort = abort;
      } else {
        finalizeRequest(request, code);
      }
      return;
    }
    this.connect(request, this.target, this.preferred === -1 ? -1 : this.placeNow(this.peers[this.preferred]));
  }

  /** The server's index among those that there are now; -1: it has gone. */
  private placeNow({ index, name }: Peer): number {
    const { group } = this.target.upstream;
    group.follow();
    const { peers } = group;
    return peers === this.peers ? index : peers.findIndex((peer) => peer.name === name);
  }

  proceed(): void {
    const { request } = this;
    // Meanwhile an error page may have been started, even at another upstream.
    if (!this.waiting || request.finalized || request.upstream !== undefined) return;
    this.waiting = false;
    request.onAbort = undefined;
    this.run();
  }
}

function abort(request: Request): void {
  request.onAbort = undefined;
  logClientGone(request);
  finalizeRequest(request, CLIENT_CLOSED_REQUEST);
}
