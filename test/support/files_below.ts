import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** The paths of all files below a directory that a running program uses: what goes while it is looked at is left out. */
export function filesBelow(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) return filesBelow(path);
      return entry.isFile() ? [path] : [];
    });
  } catch (error) {
    if (!existsSync(directory)) return [];
    throw error;
  }
}
