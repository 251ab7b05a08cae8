import { encodeHuffman } from "./huffman.ts";
import { STATIC_TABLE } from "./static_table.ts";

/**
 * Encodes the heads of responses and requests as nginx does: without a dynamic table, which saves each request time, and in
 * Huffman's code where that is shorter. All are byte strings.
 */

/** The first index of each name, and the index of each name with a value. */
const names = new Map<string, number>();
const whole = new Map<string, number>();
STATIC_TABLE.forEach(([name, value], at) => {
  if (!names.has(name)) names.set(name, at + 1);
  if (value !== "") whole.set(`${name}\n${value}`, at + 1);
});

/** An integer with a prefix of so many bits, whose other bits are given (RFC 7541 section 5.1). */
function integer(value: number, bits: number, pattern: number): string {
  const mask = (1 << bits) - 1;
  if (value < mask) return String.fromCharCode(pattern | value);
  let text = String.fromCharCode(pattern | mask);
  let rest = value - mask;
  while (rest >= 0x80) {
    text += String.fromCharCode((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  return text + String.fromCharCode(rest);
}

/** A string (RFC 7541 section 5.2). */
function string(text: string): string {
  const coded = encodeHuffman(text);
  return coded === undefined ? integer(text.length, 7, 0) + text : integer(coded.length, 7, 0x80) + coded;
}

/** A field; `name` in lower case. */
export function encodeField(name: string, value: string): string {
  const both = whole.get(`${name}\n${value}`);
  if (both !== undefined) return integer(both, 7, 0x80);
  const index = names.get(name);
  const coded = index === undefined ? `\0${string(name)}` : integer(index, 4, 0);
  return coded + string(value);
}
