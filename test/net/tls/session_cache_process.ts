import { SessionCache } from "../../../src/net/tls/session_cache.ts";
import { Zone } from "../../../src/shm/zone.ts";
import { given, say } from "../../support/sharing.ts";

/** A process that stores and removes sessions in a zone that it shares, with its lock held all the time, until it is killed. */
const {
  zones: [zone],
} = given();
zone.lock();
const held = Object.assign(Object.create(zone), { lock: () => false, unlock() {} });
if (!(held instanceof Zone)) throw new Error("no zone");
const cache = new SessionCache(held, () => {});
const session = Buffer.alloc(170);
for (let number = 0; ; number++) {
  cache.store(`own ${number % 100}`, session.subarray(0, number % 170), 300);
  if (number % 3 === 0) cache.remove(`own ${number % 100}`);
  if (number === 1000) say("inside");
}
