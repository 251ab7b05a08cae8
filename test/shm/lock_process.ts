import { given, say } from "../support/sharing.ts";
import { lockIn } from "./locks.ts";

/**
 * Word 0 is the lock. Word 1 says how far the test has come, word 2 is what the lock protects, word 3 who is inside, and
 * word 4 how often there was another.
 */
const { zones, task } = given<"die" | "hold" | "count">();
const [{ words }] = zones;
const lock = lockIn(zones[0]);

if (task === "count") {
  for (let i = 0; i < 20_000; i++) {
    lock.take();
    words[2]++;
    if (Atomics.add(words, 3, 1) !== 0) words[4]++;
    Atomics.sub(words, 3, 1);
    lock.leave();
  }
} else {
  say("begins");
  say(lock.take());
  // Never notified: the test's word for "go on" is looked at every millisecond.
  const asleep = new Int32Array(new SharedArrayBuffer(4));
  while (task === "die" || Atomics.load(words, 1) === 0) Atomics.wait(asleep, 0, 0, 1);
  words[2] = 1;
  lock.leave();
}
