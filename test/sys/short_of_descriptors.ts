import { receiveDescriptors } from "../../src/sys/descriptor_passing.ts";
import { setLimit } from "../../src/sys/limits.ts";
import { openBy } from "../support/processes.ts";
import { given, say } from "../support/sharing.ts";

/** A process that may have no more than some descriptors more, and gets too many over descriptor 4. */
const { expected } = given<{ expected: number }>().task;
const before = openBy(process.pid).length;
setLimit("RLIMIT_NOFILE", before + 50);
let failure = "";
try {
  receiveDescriptors(4, expected);
} catch (error) {
  failure = error instanceof Error ? error.message : String(error);
}
say({ failure, before, after: openBy(process.pid).length });
