import type { Coder } from "../../../sys/coder.ts";
import type { CoderSource } from "./coding_filter.ts";

/** Memory of all coders that are kept for later, bytes: at nginx's usual settings one for gzip has 265 KiB. */
const MOST = 2 * 1024 * 1024;

/** A coder that can begin a new stream. */
interface Reusable extends Coder {
  /** False if that fails. */
  reset(): boolean;
}

interface Idle {
  readonly of: CoderSource;
  readonly coder: Reusable;
  readonly bytes: number;
}

/** Those that were used last stand at the end. */
const idle: Idle[] = [];
let idleBytes = 0;

/** Coders of the same settings, which take some `bytes` of memory each, used one after another. */
export function pooled<C extends Reusable>(make: () => C, bytes: number): CoderSource {
  const source: CoderSource = {
    take() {
      for (let i = idle.length - 1; i >= 0; i--) {
        const { of, coder } = idle[i];
        if (of !== source) continue;
        idle.splice(i, 1);
        idleBytes -= bytes;
        return coder;
      }
      return make();
    },
    give(coder) {
      const reusable = coder as C;
      if (!reusable.reset()) {
        coder.free();
        return;
      }
      idle.push({ of: source, coder: reusable, bytes });
      idleBytes += bytes;
      while (idleBytes > MOST) {
        const oldest = idle.shift();
        if (oldest === undefined) return;
        idleBytes -= oldest.bytes;
        oldest.coder.free();
      }
    },
  };
  return source;
}
