import type { HeaderList } from "../../wire/http1/header_list.ts";

/**
 * The values of a field by its name in a variable (`$http_NAME`, `$sent_http_NAME`), which is in lower case with
 * underscores for hyphens. Several fields are joined with commas. Undefined if there is none.
 */
export function fieldText(fields: HeaderList, name: string): string | undefined {
  let text: string | undefined;
  for (let i = 0; i < fields.count; i++) {
    if (!isNamed(fields.key(i), name)) continue;
    text = text === undefined ? fields.value(i) : `${text}, ${fields.value(i)}`;
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
