import type { IoUring } from "../../sys/io_uring.ts";
import type { BufferGroup } from "./buffers.ts";
import type { RingLoop } from "./loop.ts";
import type { Outbox } from "./outbox.ts";
import type { Ring } from "./ring.ts";
import type { SendMemory } from "./send_memory.ts";
import type { SplicePipe } from "./splice_pipe.ts";
import type { Targets } from "./targets.ts";

/** A stream that was paused since the last wait. */
export interface Paused {
  beforeWait(): void;
}

/** What all streams and listeners of a process share. */
export interface Context {
  readonly calls: IoUring;
  readonly ring: Ring;
  readonly loop: RingLoop;
  /** To receive into: for requests and small responses, and for bulk. */
  readonly small: BufferGroup;
  readonly large: BufferGroup;
  readonly memory: SendMemory;
  readonly targets: Targets;
  readonly pipe: SplicePipe;
  readonly outbox: Outbox;
  readonly paused: Paused[];
  /** Streams that are not destroyed. */
  open: number;
}
