import type { Engine } from "../../../src/net/engine.ts";
import { accepting } from "./accepting.ts";
import { connecting } from "./connecting.ts";
import { ending } from "./ending.ts";
import { looping } from "./looping.ts";
import { reading } from "./reading.ts";
import { readingFiles } from "./reading_files.ts";
import { throwing } from "./throwing.ts";
import { writing } from "./writing.ts";

/**
 * The contract of net/stream.ts and net/engine.ts in scenarios: every engine has to pass them. `exact`: its `unsent` is
 * right to the byte.
 */
export function contract(engine: Engine, { exact }: { readonly exact: boolean }): void {
  looping(engine);
  connecting(engine);
  accepting(engine);
  reading(engine);
  readingFiles(engine);
  writing(engine, exact);
  ending(engine);
  throwing(engine);
}
