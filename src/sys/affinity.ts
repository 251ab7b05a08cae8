import { cpus } from "node:os";
import { libc } from "./libc.ts";

/** The cores of each worker: a bit a core. `auto`: one core a worker, out of those of the mask (or of all). */
export interface CpuAffinity {
  readonly auto: boolean;
  readonly masks: readonly bigint[];
}

/** Pins the calling thread as worker number `index` of `worker_cpu_affinity`. False where that is not possible. */
export function pinThread(affinity: CpuAffinity, index: number): boolean {
  const mask = maskOf(affinity, index, cpus().length);
  const c = libc();
  if (c === undefined || process.platform !== "linux") return false;
  if (mask === 0n) return true;
  const bytes = Buffer.alloc(128);
  for (let cpu = 0; cpu < 1024; cpu++) if ((mask >> BigInt(cpu)) & 1n) bytes[cpu >> 3] |= 1 << (cpu & 7);
  return c.setAffinity(bytes) === 0;
}

/** The cores of one worker as bits; 0: leave it. Without `auto`, the last mask goes on for the remaining workers. */
export function maskOf({ auto, masks }: CpuAffinity, index: number, cores: number): bigint {
  if (!auto) return masks[Math.min(index, masks.length - 1)];
  const allowed = masks[0] ?? (1n << BigInt(cores)) - 1n;
  const chosen: number[] = [];
  for (let cpu = 0; cpu < 1024; cpu++) if ((allowed >> BigInt(cpu)) & 1n) chosen.push(cpu);
  return chosen.length === 0 ? 0n : 1n << BigInt(chosen[index % chosen.length]);
}
