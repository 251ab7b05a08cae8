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

/** The digest of the fields that Vary names in a request (ngx_http_file_cache_vary). `main`: the digest of its key. */
export function variantOf(main: string, vary: string, headers: HeaderList): string {
  let text = main;
  for (const name of vary.toLowerCase().split(/[ ,]+/)) {
    if (name === "") continue;
    const values = headers.getAll(name);
    const value = NORMALIZED.has(name)
      ? values
          .join(",")
          .split(/[ ,]+/)
          .filter((part) => part !== "")
          .join(",")
      : values.join(",");
    text += `${name}:${value}\r\n`;
  }
  return digestOf(text);
}
