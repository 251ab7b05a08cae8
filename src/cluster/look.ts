import type { BoundPlan } from "../health/plan.ts";
import type { Member } from "./group/member.ts";
import { nodeKey, type Opinion, type Opinions } from "./group/opinions.ts";
import type { Servers } from "./servers.ts";

export interface Looking {
  /** The checks of the other nodes. */
  readonly plan: BoundPlan;
  readonly members: ReadonlyMap<string, Member>;
  readonly opinions: Opinions;
  readonly servers: Servers;
}

/** What this node finds of another one, by the number of its check, and what follows. Returns whether there is a verdict. */
export function lookAtNode(number: number, { plan, members, opinions, servers }: Looking): boolean {
  const { server } = plan.checks[number];
  const { up, verdict, since, reason } = plan.states.read(plan.records[number]);
  const member = members.get(server);
  opinions.set(nodeKey(server), opinion(up, verdict, since, reason));
  if (!up) member?.lost();
  if (verdict && !up) servers.came(server);
  // Until there is a verdict it counts as there: a node that starts must not take everything for its own.
  servers.live(server, (up || !verdict) && member?.facts?.state !== "leaving");
  return verdict;
}

function opinion(up: boolean, verdict: boolean, since: number, reason: string): Opinion {
  const state = !verdict ? "unknown" : up ? "up" : "down";
  return { state, since: Math.round(since), reason: state === "down" ? reason : "" };
}
