import type { HeaderList } from "../../wire/http1/header_list.ts";

/** The fields that carry tags where `…_cache_tags` names no others: Cloudflare's and Fastly's. */
export const TAG_FIELDS: readonly string[] = ["Cache-Tag", "Surrogate-Key"];

/** The tags that fields of a head carry, divided by commas or spaces; each once, between spaces: ` a b `. */
export function tagsOf(headers: HeaderList, fields: readonly string[]): string {
  const tags = new Set<string>();
  for (const field of fields) {
    if (!headers.has(field)) continue;
    for (const value of headers.getAll(field)) for (const tag of value.split(/[ \t,]+/)) tags.add(tag);
  }
  tags.delete("");
  return tags.size === 0 ? "" : ` ${[...tags].join(" ")} `;
}
