import type { MethodDefinition } from "../definition.ts";
import type { Method, Peers } from "../peers.ts";
import { leastConn } from "./least_conn.ts";
import { roundRobin } from "./round_robin.ts";

/** The balancing methods: a new one is a file and a line here. */
export function makeMethod(definition: MethodDefinition, peers: Peers): Method {
  switch (definition.name) {
    case "least_conn":
      return leastConn(peers);
    default:
      return roundRobin(peers);
  }
}
