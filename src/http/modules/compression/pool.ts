import type { Coder } from "../../../sys/coder.ts";
import type { CoderSource } from "./coding_filter.ts";

/**
 * Memory of all coders that are kept for later, bytes; one is kept however large it is. At nginx's usual settings one for gzip
 * has 265 KiB, one for Zstandard at level 1 has 800, at level 3 3 MiB.
 */
const MOST = 4 * 1024 * 1024;

interface Idle {
  readonly of: CoderSource;
  readonly coder: Coder;
  readonly bytes: number;
}

/** Those that were used last stand at the end. */
const idle: Idle[] = [];
let idleBytes = 0;

/** Coders of the same settings, used one after another. */
export function pooled(make: () => Coder): CoderSource {
  const source: CoderSource = {
    take() {
      for (let i = idle.length - 1; i >= 0; i--) {
        const { of, coder, bytes } = idle[i];
        if (of !== source) continue;
        idle.splice(i, 1);
        idleBytes -= bytes;
        return coder;
      }
      return make();
    },
    give(coder) {
      if (!coder.reset()) {
        coder.free();
        return;
      }
      const { bytes } = coder;
      idle.push({ of: source, coder, bytes });
      idleBytes += bytes;
      while (idleBytes > MOST && idle.length > 1) {
        const oldest = idle.shift();
        if (oldest === undefined) return;
        idleBytes -= oldest.bytes;
        oldest.coder.free();
      }
    },
  };
  return source;
}
