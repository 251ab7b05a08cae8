import type { Scope } from "../config/schema.ts";
import type { SerializedDirectives } from "../config/serialize.ts";
import type { Address } from "../net/address.ts";
import type { ZoneHandles, ZoneWanted } from "../shm/registry.ts";
import type { Zone } from "../shm/zone.ts";
import { fullName } from "../sys/paths.ts";

/**
 * A cycle is what nginx calls one (ngx_cycle_t): a configuration and all that is built from it. Each start or reload
 * makes one; `generation` numbers them. The master sends `CycleData` to its children, which build the same from it.
 */
export interface CycleData {
  readonly generation: number;
  /** Set when the master has built the cycle. */
  directives: SerializedDirectives;
  /** `-p` and `-e`/`-g` as resolved absolute values; prefix ends with "/". */
  readonly prefix: string;
  readonly confPrefix: string;
  readonly errorLog: string;
  /** Shared zones, kept over reloads while kind, name and size stay the same. */
  readonly zones: ZoneHandles;
  /**
   * What was read of files that only the master may be allowed to read (certificates, keys, passwords), by absolute path. The
   * master adds to it while it builds.
   */
  readonly files: Map<string, Uint8Array>;
  /** Names resolved when the configuration was loaded: host → addresses (port 0). */
  readonly hosts: Readonly<Record<string, readonly Address[]>>;
}

/** What is at hand while an application is built. */
export interface Cycle {
  readonly data: CycleData;
  readonly root: Scope;
  /**
   * A shared zone. While the master builds, one that is missing is made (of zeros); in its children it is always there.
   */
  zone(wanted: ZoneWanted): Zone;
  /**
   * The contents of a file that is part of the configuration. Only the master reads it: others get what that has read. Throws
   * as node:fs does.
   */
  readFile(path: string): Uint8Array;
  /** A path relative to the prefix made absolute (`conf`: relative to the configuration file's directory). */
  path(path: string, base?: "prefix" | "conf"): string;
}

export function cycleOf(
  data: CycleData,
  root: Scope,
  { zone, readFile }: { readonly zone: Cycle["zone"]; readonly readFile: (path: string) => Uint8Array },
): Cycle {
  return {
    data,
    root,
    zone,
    readFile(path) {
      let bytes = data.files.get(path);
      if (bytes === undefined) {
        bytes = readFile(path);
        data.files.set(path, bytes);
      }
      return bytes;
    },
    path: (path, base) => fullName(path, base === "conf" ? data.confPrefix : data.prefix),
  };
}
