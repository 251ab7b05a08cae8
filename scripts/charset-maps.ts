/**
 * Writes conf/koi-utf, conf/koi-win and conf/win-utf, the tables of `charset_map` for Cyrillic, from those that Node has.
 *
 *     node scripts/charset-maps.ts
 */
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";

/**
 * Where the page that nginx calls koi8-r is not KOI8-U: it has these where that has lines and blocks, and they are in pages.
 */
const OTHERS: Readonly<Record<number, string>> = {
  128: "€",
  149: "•",
  154: "\u00a0",
  158: "·",
  176: "°",
  185: "№",
  191: "©",
};

/** The upper half of a character set, by byte; control characters are none. */
function upperHalf(label: string, others: Readonly<Record<number, string>> = {}): Map<number, string> {
  const decoder = new TextDecoder(label);
  const table = new Map<number, string>();
  for (let byte = 0x80; byte <= 0xff; byte++) {
    const character = others[byte] ?? decoder.decode(Uint8Array.of(byte));
    if (!/\p{Cc}|\ufffd/u.test(character)) table.set(byte, character);
  }
  return table;
}

const hex = (bytes: Iterable<number>): string =>
  [...bytes].map((byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join("");

function mapFile(
  title: string,
  [from, to]: readonly [string, string],
  table: ReadonlyMap<number, string>,
  encode: (character: string) => Uint8Array | undefined,
): string {
  const lines: string[] = [];
  for (const [byte, character] of table) {
    const encoded = encode(character);
    const shown = /[\p{L}\p{S}\p{P}\p{N}]/u.test(character)
      ? character
      : `U+${hex([character.charCodeAt(0) >> 8, character.charCodeAt(0) & 0xff])}`;
    if (encoded !== undefined) lines.push(`    ${hex([byte])} ${hex(encoded)}; # ${shown}`);
  }
  return `# ${title} Written by scripts/charset-maps.ts.\n\ncharset_map ${from} ${to} {\n${lines.join("\n")}\n}\n`;
}

const utf8 = (character: string): Uint8Array => new TextEncoder().encode(character);
const koi8 = upperHalf("koi8-u", OTHERS);
const windows = upperHalf("windows-1251");
const inWindows = new Map([...windows].map(([byte, character]) => [character, Uint8Array.of(byte)]));

const KOI8 = "KOI8-U, which has all letters of KOI8-R";
const files: Readonly<Record<string, string>> = {
  "koi-utf": mapFile(`${KOI8}, to UTF-8.`, ["koi8-r", "utf-8"], koi8, utf8),
  "koi-win": mapFile(`${KOI8}, to windows-1251.`, ["koi8-r", "windows-1251"], koi8, (character) =>
    inWindows.get(character),
  ),
  "win-utf": mapFile("windows-1251 to UTF-8.", ["windows-1251", "utf-8"], windows, utf8),
};
for (const [name, text] of Object.entries(files)) writeFileSync(resolve(import.meta.dirname, "../conf", name), text);
