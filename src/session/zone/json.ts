import { isObject, type Json, type JsonObject } from "./merge.ts";

declare global {
  interface JSON {
    parse(text: string, reviver: (key: string, value: Json, context: { readonly source?: string }) => Json): Json;
    /** Is written as `text` again. */
    rawJSON(text: string): JsonObject;
    isRawJSON(value: unknown): boolean;
  }
}

/** Where a number may have more digits, or be larger, than JavaScript's numbers can: ids of 64 bits of other languages. */
const LARGE = /\d{16}|\d[eE]/;

/** Reads JSON, and leaves numbers that JavaScript has no number for as they are written. Throws a SyntaxError. */
export function parseJson(text: string): Json {
  return LARGE.test(text) ? JSON.parse(text, exactly) : JSON.parse(text);
}

function exactly(_name: string, value: Json, { source }: { readonly source?: string }): Json {
  return typeof value === "number" && source !== undefined && String(value) !== source ? JSON.rawJSON(source) : value;
}

/** The object that a text of JSON is; undefined for any other text. */
export function parseObject(text: string): JsonObject | undefined {
  try {
    const value = parseJson(text);
    return isObject(value) && isShallow(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Levels of objects and lists within one another. */
const MAX_DEPTH = 32;

/** Whether a value is nested no deeper than is allowed. */
function isShallow(value: Json, depth = MAX_DEPTH): boolean {
  if (typeof value !== "object" || value === null) return true;
  if (depth === 0) return false;
  return Object.values(value).every((member) => isShallow(member, depth - 1));
}
