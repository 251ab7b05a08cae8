import { parentPort, workerData } from "node:worker_threads";
import { LruHash } from "../../src/shm/lru_hash.ts";
import { Zone, type ZoneHandle } from "../../src/shm/zone.ts";

/** A thread that counts in a hash that it shares: 20,000 times, and to "die", until it is killed with the lock held. */
const { task, handle, thread }: { task: "hammer" | "die"; handle: ZoneHandle; thread: number } = workerData;
const hash = new LruHash(new Zone(handle));
const { words } = hash.zone;

function count(number: number): void {
  const key = `key ${number % 100}${"x".repeat(number % 7)}`;
  const entry = hash.find(key) ?? hash.insert(key, 8);
  if (entry === undefined) throw new Error("no memory");
  words[hash.value(entry)]++;
  hash.touch(entry);
  // Entries that only one thread has come and go meanwhile.
  const own = hash.insert(`own ${thread} ${number}`, number % 500);
  if (own !== undefined) hash.remove(own);
}

for (let number = 0; number < 20_000; number++) {
  hash.lock();
  count(number);
  hash.unlock();
}
if (task === "die") {
  hash.lock();
  parentPort?.postMessage("inside");
  for (let number = 0; ; number++) count(number);
}
