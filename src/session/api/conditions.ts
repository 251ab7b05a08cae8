import type { HeaderList } from "../../wire/http1/header_list.ts";

/**
 * If-Match and If-None-Match (RFC 9110, section 13.1), where an entity tag is a session's version. A weak tag counts as the strong
 * one: what made it weak has changed the body's bytes and not the session.
 */
export type Condition = "none" | "any" | readonly number[];

const TAG = /^(?:W\/)?"(\d{1,16})"$/;
const FORM = /^\s*(?:W\/)?"[^"]*"\s*(?:,\s*(?:(?:W\/)?"[^"]*"\s*)?)*$/;

/** undefined: it is malformed. A tag that is no version is none that a session ever had. */
export function conditionIn(headers: HeaderList, key: "if-match" | "if-none-match"): Condition | undefined {
  const value = headers.get(key);
  if (value === undefined) return "none";
  if (value.trim() === "*") return "any";
  if (!FORM.test(value)) return undefined;
  const tags = value.split(",").map((tag) => TAG.exec(tag.trim())?.[1]);
  return tags.filter((tag) => tag !== undefined).map(Number);
}

/** Whether a session of that version (0: there is none) is one of those named. */
export function isNamed(condition: Condition, version: number): boolean {
  if (condition === "none") return false;
  return condition === "any" ? version !== 0 : condition.includes(version);
}
