import { parentPort, workerData } from "node:worker_threads";
import { lock, unlock } from "../../src/shm/lock.ts";

/** Word 0 is the lock. Word 1 says how far the test has come, word 2 is what the lock protects, word 3 how often it broke a rule. */
const { task, buffer }: { task: "die" | "hold" | "count"; buffer: SharedArrayBuffer } = workerData;
const words = new Int32Array(buffer);

if (task === "count") {
  for (let i = 0; i < 20_000; i++) {
    lock(words, 0);
    words[2]++;
    if (Atomics.add(words, 3, 1) !== 0) words[4]++;
    Atomics.sub(words, 3, 1);
    unlock(words, 0);
  }
} else {
  const broken = lock(words, 0);
  parentPort?.postMessage(broken);
  // Never notified: the test's word for "go on" is looked at every millisecond.
  while (task === "die" || Atomics.load(words, 1) === 0) Atomics.wait(words, 5, 0, 1);
  words[2] = 1;
  unlock(words, 0);
}
