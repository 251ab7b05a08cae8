/**
 * Holdfast with one module more: `die_with_zone KIND NAME SIZE` ends the worker that answers while it has that zone
 * locked.
 */
import { fileURLToPath } from "node:url";
import { texts } from "../../src/config/directives.ts";
import { parseSize } from "../../src/config/values.ts";
import { defineModule, type HttpModule } from "../../src/http/conf/module.ts";
import { httpProgram } from "../../src/http/conf/program.ts";
import type { Handler } from "../../src/http/core/types.ts";
import { run } from "../../src/runtime/start.ts";

const dying = defineModule({
  name: "dying",
  directives: {
    die_with_zone: {
      ...texts({ in: ["location"], doc: "" }),
      args: [3, 3],
      read: ({ args }): readonly string[] => args,
    },
  },
  build({ die_with_zone: [kind, name, size] }, { http: { cycle } }): Handler | undefined {
    if (kind === undefined) return undefined;
    const zone = cycle.zone({ kind: { name: kind, version: 1 }, name, size: parseSize(size) ?? 0 });
    return () => {
      zone.lock();
      process.exit(3);
    };
  },
  content: (handler) => handler,
});

const program = httpProgram({
  modules: [dying as HttpModule],
  tables: [],
  open: () => [],
});
run(program, new URL(import.meta.url), fileURLToPath(new URL("../../", import.meta.url)));
