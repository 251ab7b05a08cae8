import type { WorkerShare } from "../../conf/module.ts";
import type { CertificateZone } from "./certificate_zone.ts";
import { wait } from "./wait.ts";

/**
 * Whether workers can answer challenges yet. The checker takes a new configuration at the same time as they do, and a CA that
 * finds nobody listening, or the configuration before, counts that as a failure.
 */

/** The longest time that workers are waited for, and how long until the next look; ms. */
const MOST_WAIT = 30_000;
const LOOK = 20;

export function isServingMark(key: string): boolean {
  return key.startsWith("serving ");
}

/** Each worker's mark in the zone: the cycle that it serves, and how many workers there are. */
export function markServing(zone: CertificateZone, generation: number): WorkerShare {
  return {
    enter() {},
    serving: (slot, workers) => zone.write(`serving ${slot}`, `${generation} ${workers}`),
    forget: (slot) => zone.remove(`serving ${slot}`),
  };
}

/** Resolves when all workers serve the cycle, or have had time enough. */
export async function allServing(zone: CertificateZone, generation: number, signal: AbortSignal): Promise<void> {
  const end = performance.now() + MOST_WAIT;
  while (performance.now() < end && !signal.aborted) {
    const marks = zone.keys().filter(isServingMark);
    const served = marks.map((key) => (zone.read(key)?.text ?? "").split(" ").map(Number));
    const ours = served.filter(([of]) => of === generation);
    if (ours.length > 0 && ours.length >= ours[0][1]) return;
    await wait(LOOK, signal);
  }
}
