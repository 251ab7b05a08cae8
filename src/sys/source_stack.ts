import { readFileSync } from "node:fs";
import { SourceMap } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";

const maps = new Map<string, SourceMap | undefined>();

/** Replaces positions in a built file (`….js:LINE:COLUMN`) by those in the source, through the source map beside it. */
export function sourceStack(stack: string): string {
  return stack.replace(/(file:\/\/\/[^\s()]+\.m?js|\/[^\s()]+\.m?js):(\d+):(\d+)/g, (place, file, line, column) => {
    const url = file.startsWith("/") ? pathToFileURL(file).href : file;
    const origin = mapOf(url)?.findOrigin(Number(line), Number(column));
    if (origin === undefined || !("fileName" in origin)) return place;
    return `${new URL(origin.fileName, url).href}:${origin.lineNumber}:${origin.columnNumber}`;
  });
}

/** Read when it is first needed: it is large. */
function mapOf(url: string): SourceMap | undefined {
  if (!maps.has(url)) {
    let map: SourceMap | undefined;
    try {
      map = new SourceMap(JSON.parse(readFileSync(`${fileURLToPath(url)}.map`, "utf8")));
    } catch {
      // Not a built file, or one without a map.
    }
    maps.set(url, map);
  }
  return maps.get(url);
}
