import type { Directive } from "../../config/types.ts";
import { type HeadText, headText } from "../../wire/head_text.ts";
import { lowercase } from "../../wire/latin1.ts";

/** Media types by file extension: `types` and `default_type`. */

/** Extension (lower case, without the dot) to media type. */
export type MimeTypes = ReadonlyMap<string, HeadText>;

/** nginx's types without any `types` block. */
const DEFAULT_TYPES: MimeTypes = new Map([
  ["html", headText("text/html")],
  ["gif", headText("image/gif")],
  ["jpg", headText("image/jpeg")],
]);

/** A warning and the line it is about. */
export interface MimeWarning {
  readonly directive: Directive;
  readonly message: string;
}

/**
 * Reads the lines of the `types` blocks of one level (`include` already resolved): a media type and its extensions
 * each. If an extension is given twice, the last type wins, with a warning. Without any block: nginx's defaults.
 */
export function buildMimeTypes(lines: readonly Directive[] | undefined): {
  readonly types: MimeTypes;
  readonly warnings: readonly MimeWarning[];
} {
  if (lines === undefined) return { types: DEFAULT_TYPES, warnings: [] };
  const types = new Map<string, HeadText>();
  const warnings: MimeWarning[] = [];
  for (const directive of lines) {
    for (const arg of directive.args) {
      const extension = lowercase(arg);
      const previous = types.get(extension);
      if (previous !== undefined) {
        const message = `duplicate extension "${extension}", content type: "${directive.name}", previous content type: "${previous}"`;
        warnings.push({ directive, message });
      }
      types.set(extension, headText(directive.name));
    }
  }
  return { types, warnings };
}
