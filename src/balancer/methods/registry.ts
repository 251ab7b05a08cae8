import type { MethodDefinition } from "../definition.ts";
import type { Method, Peers } from "../peers.ts";
import { hash } from "./hash.ts";
import { hashConsistent } from "./hash_consistent.ts";
import { ipHash } from "./ip_hash.ts";
import { leastConn } from "./least_conn.ts";
import { leastTime } from "./least_time.ts";
import { random, randomTwo } from "./random.ts";
import { roundRobin } from "./round_robin.ts";

/** The balancing methods: a new one is a file, a name in MethodDefinition and a line here. */
export function makeMethod(definition: MethodDefinition, peers: Peers): Method {
  switch (definition.name) {
    case "round_robin":
      return roundRobin(peers);
    case "least_conn":
      return leastConn(peers);
    case "least_time":
      return leastTime(peers, definition.mode, definition.inflight);
    case "ip_hash":
      return ipHash(peers);
    case "hash":
      return hash(peers);
    case "hash_consistent":
      return hashConsistent(peers);
    case "random":
      return random(peers);
    case "random_two":
      return randomTwo(peers, definition.by);
  }
}
