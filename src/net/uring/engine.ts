/** The engine on io_uring: Linux 6.1 and later, where the system's policy allows it. */
import { ioUring } from "../../sys/io_uring.ts";
import { mapMemory } from "../../sys/memory.ts";
import type { Engine } from "../engine.ts";
import { BufferGroup } from "./buffers.ts";
import { connect } from "./connect.ts";
import type { Context, Paused } from "./context.ts";
import { FileReads } from "./file_reads.ts";
import { listen } from "./listener.ts";
import { RingLoop } from "./loop.ts";
import { Outbox } from "./outbox.ts";
import { probeOperations, tryReceive } from "./probe.ts";
import { Ring } from "./ring.ts";
import { SendMemory } from "./send_memory.ts";
import { SplicePipe } from "./splice_pipe.ts";
import { Targets } from "./targets.ts";

/** Buffers to receive into: most requests fit into a small one; a large one is as much as is handled at once. */
const SMALL = { size: 4096, first: 64, most: 1024 };
const LARGE = { size: 65_536, first: 8, most: 128 };

/** Makes the ring of this thread, and the engine on it. Returns a sentence if that is not possible here. */
export function openUring(): Engine | string {
  const ring = Ring.open(ioUring());
  if (typeof ring === "string") return ring;
  const opened = openOn(ring);
  if (typeof opened === "string") ring.close();
  return opened;
}

function openOn(ring: Ring): Engine | string {
  const { calls } = ring;
  const small = BufferGroup.open(ring, 0, SMALL.size, SMALL.first, SMALL.most);
  if (typeof small === "string") return small;
  const large = BufferGroup.open(ring, 1, LARGE.size, LARGE.first, LARGE.most);
  if (typeof large === "string") return large;
  const lacking = probeOperations(ring) ?? tryReceive(ring, small);
  if (lacking !== undefined) return lacking;
  const paused: Paused[] = [];
  const loop = RingLoop.open(ring, () => {
    for (let one = paused.pop(); one !== undefined; one = paused.pop()) one.beforeWait();
  });
  if (typeof loop === "string") return loop;
  const targets = mapMemory(Targets.size);
  const outbox = mapMemory(Outbox.size);
  if (targets === undefined || outbox === undefined) return "mmap() failed";
  const context: Context = {
    calls,
    ring,
    loop,
    small,
    large,
    memory: new SendMemory(),
    targets: new Targets(ring, targets),
    pipe: new SplicePipe(calls),
    outbox: new Outbox(outbox),
    paused,
    open: 0,
  };
  const files = new FileReads(context);
  process.once("exit", () => {
    // What was written in this turn.
    ring.queues.submit();
    ring.owners.abandonAll();
    ring.close();
  });
  return {
    name: "io_uring",
    loop: loop.loop,
    prepare: async () => undefined,
    connect: (options, handler) => connect(context, options, handler),
    listen: async (options, accept, failed) => listen(context, options, accept, failed),
    readFile: (fd, position, length, handler) => files.read(fd, position, length, handler),
    openStreams: () => context.open,
  };
}
