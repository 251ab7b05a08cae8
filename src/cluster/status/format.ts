import type { Matrix, ServerRow } from "../matrix.ts";
import { nodeTrouble, serverTrouble, troubles } from "./words.ts";

const ASCII = /^[\0-\x7f]*$/;

/** Byte strings as the characters that they are in UTF-8; what is none becomes U+FFFD. */
function utf8(text: string): string {
  return ASCII.test(text) ? text : Buffer.from(text, "latin1").toString();
}

/** All strings in a value, names of members too. */
function utf8In(value: unknown): unknown {
  if (typeof value === "string") return utf8(value);
  if (Array.isArray(value)) return value.map(utf8In);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [utf8(name), utf8In(member)]));
}

/** The matrix with characters in place of byte strings. */
export function readable(matrix: Matrix): Matrix {
  return utf8In(matrix) as Matrix;
}

/** JSON of byte strings: all but printable ASCII is escaped, so that it is the same text in each charset. */
export function jsonOf(value: unknown): string {
  return JSON.stringify(utf8In(value)).replace(/[^\n -~]/g, escaped);
}

function escaped(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** The matrix with what it says in words. */
export function matrixJson(matrix: Matrix): string {
  const { nodes, servers } = matrix;
  return jsonOf({
    ...matrix,
    nodes: nodes.map((row) => ({ ...row, words: nodeTrouble(row) ?? "" })),
    servers: servers.map(withWords),
    troubles: troubles(matrix),
  });
}

export function serverJson(row: ServerRow): string {
  return jsonOf(withWords(row));
}

function withWords(row: ServerRow): ServerRow & { readonly words: string } {
  return { ...row, words: serverTrouble(row) ?? "" };
}
