/** io_uring, where the kernel and its policy allow it. */
import { test } from "node:test";
import { openUring } from "../../../src/net/uring/engine.ts";
import { contract } from "./contract.ts";
import { sendingFiles } from "./sending_files.ts";
import { splicing } from "./splicing.ts";

const engine = openUring();
if (typeof engine === "string") test("io_uring", { skip: `not here: ${engine}` }, () => {});
else {
  contract(engine, { exact: true });
  sendingFiles(engine);
  splicing(engine);
}
