import { buildUpstream } from "../../src/balancer/group.ts";
import { PEER } from "../../src/balancer/peer.ts";
import { lockZone, recordAt } from "../../src/balancer/zone.ts";
import { given, say } from "../support/sharing.ts";
import { definition, input, server } from "./helpers.ts";

/** A worker that holds a connection, and is in the middle of taking another one when it is killed. */
const [shared] = given().zones;
const upstream = buildUpstream(definition([server(1), server(2)], { name: "least_conn" }), {}, shared, {
  generation: 1,
});
upstream.enter(9);
const attempt = upstream.begin(input());
upstream.next(attempt);
upstream.release(attempt, "ok");
upstream.next(attempt);
const state = shared.words;
lockZone(shared);
state[recordAt(0) + PEER.conns] = 77;
state[recordAt(0) + PEER.currentWeight] = -77;
say("inside");
setInterval(() => {}, 1000);
