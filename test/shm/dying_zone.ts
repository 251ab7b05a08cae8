import type { Zone } from "../../src/shm/zone.ts";

/** The write at which a process dies. */
export class Death extends Error {}

/** The zone as a process sees it that dies at its write number `at`. */
export function dyingView(zone: Zone, at: number): { readonly view: Zone; readonly writes: () => number } {
  let writes = 0;
  const each = (from: number, to: number, write: (index: number) => void) => {
    for (let index = from; index < to; index++) write(index);
  };
  const words = new Proxy(zone.words, {
    get(target, property) {
      if (property === "fill") {
        return (value: number, from: number, to: number) =>
          each(from, to, (i) => {
            if (target[i] !== value) words[i] = value;
          });
      }
      if (property === "copyWithin") {
        return (to: number, from: number, end: number) =>
          each(from, end, (i) => {
            words[to + i - from] = target[i];
          });
      }
      return Reflect.get(target, property, target);
    },
    set(target, property, value) {
      if (writes++ === at) throw new Death();
      return Reflect.set(target, property, value, target);
    },
  });
  const view: Zone = Object.assign(Object.create(zone), { words, lock: () => false, unlock() {} });
  return { view, writes: () => writes };
}

/** The zone as one sees it that finds the lock's holder dead. */
export function afterDeath(zone: Zone): Zone {
  return Object.assign(Object.create(zone), { lock: () => true, unlock() {} });
}
