import type { HeaderList } from "./h1/header_list.ts";

/**
 * The values of a field by its name in a variable (`$http_NAME`, `$sent_http_NAME`): lower case with underscores,
 * which stand for hyphens and for themselves. Several fields are joined with commas. Undefined without one.
 */
export function fieldText(fields: HeaderList, name: string): string | undefined {
  const { keys, values, count } = fields;
  let text: string | undefined;
  for (let i = 0; i < count; i++) {
    if (!isNamed(keys[i], name)) continue;
    text = text === undefined ? values[i] : `${text}, ${values[i]}`;
  }
  return text;
}

function isNamed(key: string, name: string): boolean {
  const { length } = name;
  if (key.length !== length) return false;
  for (let i = 0; i < length; i++) {
    const code = key.charCodeAt(i);
    if ((code === 0x2d ? 0x5f : code) !== name.charCodeAt(i)) return false;
  }
  return true;
}

const BREAKS = /[\r\n\0]/;
const UNSAFE = /[\0-\x20\x7f]/;

/** A field's value that variables made: what would end the line in it becomes a space (RFC 9110 section 5.5). */
export function fieldValue(text: string): string {
  return BREAKS.test(text) ? text.replace(/[\r\n\0]/g, " ") : text;
}

/** A part of a request line that variables made: what would end it, or the line, is escaped. nginx lets it through. */
export function lineWord(text: string): string {
  if (!UNSAFE.test(text)) return text;
  const escaped = (byte: string) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
  return text.replace(/[\0-\x20\x7f]/g, escaped);
}
