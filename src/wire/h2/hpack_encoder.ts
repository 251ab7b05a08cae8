import { STATIC_TABLE } from "./static_table.ts";

/**
 * Encodes the heads of responses and requests without a dynamic table and without Huffman's code: what is shorter to write costs
 * the connection some bytes, and each request less time. All are byte strings.
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

/** A field; `name` in lower case. */
export function encodeField(name: string, value: string): string {
  const both = whole.get(`${name}\n${value}`);
  if (both !== undefined) return integer(both, 7, 0x80);
  const index = names.get(name);
  const coded = index === undefined ? `\0${integer(name.length, 7, 0)}${name}` : integer(index, 4, 0);
  return `${coded}${integer(value.length, 7, 0)}${value}`;
}
