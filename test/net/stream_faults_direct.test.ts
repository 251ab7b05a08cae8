/** The same where text is written directly, as a worker does; without the trial all goes through node:net. */
import { proveDirectWrites } from "../../src/net/node/direct_write_proof.ts";

await proveDirectWrites();
await import("./stream_faults.test.ts");
