import type { Matrix, ServerRow } from "../matrix.ts";
import { nodeTrouble, serverTrouble, troubles } from "./words.ts";

const PRINTABLE = /^[ -~]*$/;

/** JSON of byte strings: all but printable ASCII is escaped, so that it is the same text in each charset. What is no UTF-8 becomes U+FFFD. */
export function jsonOf(value: unknown): string {
  const text = JSON.stringify(value);
  // What JSON is made of is ASCII, so the rest can be decoded where it stands.
  return PRINTABLE.test(text) ? text : characters(text).replace(/[^ -~]/g, escaped);
}

function characters(text: string): string {
  return Buffer.from(text, "latin1").toString();
}

/** The matrix with characters in place of byte strings. */
export function readable(matrix: Matrix): Matrix {
  const text = JSON.stringify(matrix);
  return PRINTABLE.test(text) ? matrix : (JSON.parse(characters(text)) as Matrix);
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
