import { isUtf8 } from "node:buffer";
import type { Request } from "../../http/core/request.ts";
import { FieldSet } from "../../wire/http1/field_set.ts";
import { HeaderList } from "../../wire/http1/header_list.ts";
import type { Change } from "./change.ts";
import { parseObject } from "./json.ts";
import type { JsonObject } from "./merge.ts";
import { newId } from "./session_id.ts";

/** The fields of sessions, between the proxy and its servers. */

/** Clients' are dropped, and servers' not passed on. In lower case. */
const NAMES = ["id", "version", "data", "new", "set", "delete", "renew", "strict", "conflict"];
export const SESSION_FIELDS: readonly string[] = NAMES.map((name) => `x-session-${name}`);

/**
 * With `underscores_in_headers on` or `ignore_invalid_headers off` a client's field may have one of these between its words, and come out of CGI
 * or PHP under the same name.
 */
const BETWEEN = ["-", "_", "."];
const DROPPED = new FieldSet(
  NAMES.flatMap((name) => BETWEEN.flatMap((one) => BETWEEN.map((other) => `x${one}session${other}${name}`))),
);

/** Clients say nothing of sessions: these fields are between proxy and servers. */
export function dropFields({ headers }: Request): void {
  headers.removeAll(DROPPED);
}

/** What a server's answer wants done; a text says what is wrong with it. */
export function changeOf(fields: HeaderList, version: number): Change | string | undefined {
  const sets = fields.getAll("x-session-set");
  // Which is the older one nobody knows, and leaving one out would confirm what was not stored.
  if (sets.length > 1) return "several X-Session-Set fields";
  const [set] = sets;
  const renew = isSet(fields.get("x-session-renew"));
  if (isSet(fields.get("x-session-delete"))) return { kind: "delete", base: undefined };
  if (set === undefined && !renew) return undefined;
  const patch = set === undefined ? {} : decode(set);
  if (patch === undefined) return "an X-Session-Set that is not the Base64 of a JSON object";
  const based = fields.get("x-session-version");
  const base = based === undefined ? version : VERSION_FORM.test(based) ? Number(based) : Number.NaN;
  if (!Number.isSafeInteger(base)) return "an invalid X-Session-Version";
  if (renew) return { kind: "renew", to: newId(), patch, base };
  return { kind: "patch", patch, base, rule: isSet(fields.get("x-session-strict")) ? "strict" : "merge" };
}

/** A request's fields without these, for a subrequest: it has them from its parent. */
export function withoutFields(headers: HeaderList): HeaderList {
  const own = new HeaderList();
  own.named = headers.named;
  for (let at = 0; at < headers.count; at++) if (!DROPPED.holds(headers, at)) own.copy(headers, at);
  return own;
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== "" && value !== "0";
}

const VERSION_FORM = /^\d{1,16}$/;
const BASE64 = /^[\w+/-]*={0,2}$/;

function decode(text: string): JsonObject | undefined {
  if (!BASE64.test(text)) return undefined;
  const bytes = Buffer.from(text, "base64");
  return isUtf8(bytes) ? parseObject(bytes.toString("utf8")) : undefined;
}
