import type { CheckPlan } from "../../health/plan.ts";
import type { NodeFacts, NodeState } from "../group/messages.ts";
import { type Opinion, serverKey } from "../group/opinions.ts";

/** How fit this node is to have an address, beside what its master sees of its processes. */
export interface Standing {
  readonly fit: "serving" | "draining" | "cut off";
  /** "" where it is to have it. */
  readonly why: string;
}

/** Another node, as far as it matters here. */
export interface Peer {
  /** undefined where it is not heard. */
  readonly facts: Pick<NodeFacts, "state"> | undefined;
  readonly opinions: { get(key: string): Pick<Opinion, "state"> | undefined };
}

export type Upstreams = { readonly upstreams: readonly Pick<CheckPlan["upstreams"][number], "name" | "servers">[] };
const SERVING: Standing = { fit: "serving", why: "" };

/**
 * A node drains where another serves. It is cut off where it sees none of an upstream's servers up and another that serves does, or
 * where it sees no server of any upstream and hears no other node: then it is its own link that is down.
 */
export function standingOf(
  state: NodeState,
  peers: Iterable<Peer>,
  { upstreams }: Upstreams,
  own: Peer["opinions"],
): Standing {
  const others = [...peers];
  const heard = others.filter(({ facts }) => facts !== undefined);
  const serving = heard.filter(({ facts }) => facts?.state === "serving");
  if (state === "draining") {
    return serving.length > 0
      ? { fit: "draining", why: "it drains" }
      : { fit: "cut off", why: "it drains, and no other node serves" };
  }
  let checked = 0;
  let dead = 0;
  for (const { name, servers } of upstreams) {
    const keys = servers.filter(({ checks }) => checks.length > 0).map((server) => serverKey(name, server.name));
    if (keys.length === 0) continue;
    checked++;
    const states = keys.map((key) => own.get(key)?.state);
    if (!states.includes("down") || states.includes("up")) continue;
    dead++;
    if (serving.some(({ opinions }) => keys.some((key) => opinions.get(key)?.state === "up"))) {
      return { fit: "cut off", why: `it sees no server of "${name}" up, and other nodes do` };
    }
  }
  return checked > 0 && dead === checked && others.length > 0 && heard.length === 0
    ? { fit: "cut off", why: "it sees no server up and hears no other node" }
    : SERVING;
}
