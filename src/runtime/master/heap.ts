import type { ChildRole } from "../messages.ts";

/**
 * Heap sizes. By default V8 lets the old generation grow to hundreds of MiB before it collects it, which would keep the
 * trees of many reloads. --memory-saver-mode makes it collect early (sys/v8_flags.ts). bin/holdfast
 * gives the master a small young generation; the children's is set here.
 */

/** A request leaves almost nothing but garbage: the larger the young generation, the fewer scavenges. */
const WORKER_SEMI_SPACE_MB = { least: 16, most: 32 };

/** The flags of Node for a child: the master's, with the young generation of its role, in MiB. */
export function heapFlags({ kind }: ChildRole): string[] {
  if (kind === "checker") return process.execArgv;
  const { least, most } = WORKER_SEMI_SPACE_MB;
  const others = process.execArgv.filter((flag) => !flag.startsWith("--max-semi-space-size="));
  return [...others, `--min-semi-space-size=${least}`, `--max-semi-space-size=${most}`];
}
