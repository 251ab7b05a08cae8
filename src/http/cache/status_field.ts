import { directive } from "../../config/directives.ts";
import { fail } from "../../config/schema.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import type { CacheStatus } from "../core/upstream.ts";

/** Cache-Status (RFC 9211): what the cache did with a request. */

/** `…_cache_status_header` */
export interface StatusField {
  /** What the cache calls itself, as it stands in the field. */
  readonly name: string;
  /** The key is shown. */
  readonly key: boolean;
}

export function statusFieldDirective(doc: string) {
  return directive<StatusField | undefined>({
    in: HTTP_LOCATION,
    args: [1, 2],
    syntax: "off | on|name [key]",
    doc,
    initial: () => undefined,
    defaultText: "off",
    read(at) {
      const [word, key] = at.args;
      if (key !== undefined && key !== "key") fail(at, `invalid parameter "${key}"`);
      if (word === "off") return undefined;
      const name = word === "on" ? "holdfast" : item(word);
      return { name: name ?? fail(at, `invalid name "${word}"`), key: key !== undefined };
    },
  });
}

/** A string of RFC 8941, quoted unless it is a token; undefined where it has what no string can have. */
function item(text: string): string | undefined {
  if (/^[A-Za-z*][-\w!#$%&'*+.^`|~:/]*$/.test(text)) return text;
  return quoted(text);
}

function quoted(text: string): string | undefined {
  return /^[ -~]*$/.test(text) ? `"${text.replace(/["\\]/g, "\\$&")}"` : undefined;
}

/** What became of a request, as far as it is known when the head of its response is sent. Times in seconds. */
export interface CacheOutcome {
  readonly status: CacheStatus;
  readonly key: string;
  /** The stored response is sent without a server having been asked. */
  readonly unasked: boolean;
  /** It waited for another request's answer. */
  readonly waited: boolean;
  /** It is for a variant of the key. */
  readonly secondary: boolean;
  /** Of the server's answer; 0 without one. */
  readonly answered: number;
  /** Will be stored. */
  readonly kept: boolean;
  /** For how long the response is fresh; negative: since when it is not. */
  readonly left: number | undefined;
}

export function statusFieldValue({ name, key: showsKey }: StatusField, outcome: CacheOutcome): string {
  const { key, unasked, waited, answered, kept, left } = outcome;
  const parts = [name];
  if (unasked && !waited) parts.push("hit");
  else parts.push(`fwd=${reasonOf(outcome)}`);
  if (answered !== 0) parts.push(`fwd-status=${answered}`);
  if (left !== undefined) parts.push(`ttl=${left}`);
  if (kept) parts.push("stored");
  if (waited) parts.push("collapsed");
  const shown = showsKey ? quoted(key) : undefined;
  if (shown !== undefined) parts.push(`key=${shown}`);
  return parts.join("; ");
}

/** Why it was forwarded. */
function reasonOf({ status, secondary }: CacheOutcome): string {
  if (status === "BYPASS") return "bypass";
  if (status === "MISS" || status === "HIT") return secondary ? "vary-miss" : "uri-miss";
  return "stale";
}
