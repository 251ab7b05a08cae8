import { crypto } from "../../sys/builtin.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";

/** MD5 of a byte string, as 16 bytes: entries and their files are named by it, as nginx names them. */
export function digestOf(text: string): string {
  return crypto().hash("md5", Buffer.from(text, "latin1"), "latin1");
}

/** The path of an entry's file: its digest in hexadecimal, below directories of its last digits. */
export function fileName(path: string, levels: readonly number[], digest: string): string {
  const name = Buffer.from(digest, "latin1").toString("hex");
  let directory = path;
  let end = name.length;
  for (const level of levels) {
    directory += `/${name.slice(end - level, end)}`;
    end -= level;
  }
  return `${directory}/${name}`;
}

/** Lists whose spaces do not matter. */
const NORMALIZED: ReadonlySet<string> = new Set(["accept-charset", "accept-encoding", "accept-language"]);

/** The names that Vary lists, in lower case. */
export function fieldNames(vary: string): string[] {
  return vary
    .toLowerCase()
    .split(/[ ,]+/)
    .filter((name) => name !== "");
}

/** The fields of a request with those names. */
export function fieldsText(names: readonly string[], headers: HeaderList): string {
  let text = "";
  for (const name of names) {
    const values = headers.getAll(name);
    const value = values.length === 1 ? values[0] : values.join(",");
    text += `${name}:${NORMALIZED.has(name) ? normalized(value) : value}\r\n`;
  }
  return text;
}

/** The list that was normalized last: clients of one kind send the same. */
let lastList = "";
let lastNormalized = "";

function normalized(list: string): string {
  if (list !== lastList) {
    lastNormalized = list
      .split(/[ ,]+/)
      .filter((part) => part !== "")
      .join(",");
    lastList = list;
  }
  return lastNormalized;
}

/** The digest of the fields that Vary names in a request (ngx_http_file_cache_vary). `main`: the digest of its key. */
export function variantOf(main: string, vary: string, headers: HeaderList): string {
  return digestOf(main + fieldsText(fieldNames(vary), headers));
}
