import { LruHash } from "../../src/shm/lru_hash.ts";
import { given, say } from "../support/sharing.ts";

/** A process that counts in a hash that it shares: 20,000 times, and to "die", until it is killed with the lock held. */
const {
  zones: [zone],
  task: { what, index },
} = given<{ what: "hammer" | "die"; index: number }>();
const hash = new LruHash(zone);
const { words } = zone;

function count(number: number): void {
  const key = `key ${number % 100}${"x".repeat(number % 7)}`;
  const entry = hash.find(key) ?? hash.insert(key, 8);
  if (entry === undefined) throw new Error("no memory");
  words[hash.value(entry)]++;
  hash.touch(entry);
  // Entries that only one process has come and go meanwhile.
  const own = hash.insert(`own ${index} ${number}`, number % 500);
  if (own !== undefined) hash.remove(own);
}

for (let number = 0; number < 20_000; number++) {
  hash.lock();
  count(number);
  hash.unlock();
}
if (what === "die") {
  hash.lock();
  say("inside");
  for (let number = 0; ; number++) count(number);
}
