import { LAST_SHIFT } from "./hpack_decoder.ts";

/** The integer read last. */
let integer = 0;
const MORE = -2;

/** Where an integer ends; -1: it is too long; MORE. */
function integerEnd(bytes: Uint8Array, start: number, bits: number): number {
  if (start >= bytes.length) return MORE;
  const mask = (1 << bits) - 1;
  integer = bytes[start] & mask;
  let at = start + 1;
  if (integer < mask) return at;
  for (let shift = 0; shift <= LAST_SHIFT; shift += 7) {
    if (at >= bytes.length) return MORE;
    const byte = bytes[at++];
    integer += (byte & 0x7f) << shift;
    if (byte < 0x80) return at;
  }
  return -1;
}

function stringEnd(bytes: Uint8Array, start: number): number {
  const at = integerEnd(bytes, start, 7);
  if (at < 0) return at;
  return at + integer > bytes.length ? MORE : at + integer;
}

function fieldEnd(bytes: Uint8Array, start: number): number {
  const first = bytes[start];
  if (first >= 0x80) return integerEnd(bytes, start, 7);
  if (first >= 0x20 && first < 0x40) return integerEnd(bytes, start, 5);
  let at = integerEnd(bytes, start, first >= 0x40 ? 6 : 4);
  if (at >= 0 && integer === 0) at = stringEnd(bytes, at);
  return at < 0 ? at : stringEnd(bytes, at);
}

/**
 * Looks at a block of which more will come, from a field's beginning on: as in nginx, what cannot become right is refused at once.
 * Returns where the first field begins that is not complete; -1 where an integer is too long.
 */
export function completeFields(bytes: Uint8Array, from: number): number {
  for (let at = from; ; ) {
    if (at >= bytes.length) return at;
    const end = fieldEnd(bytes, at);
    if (end < 0) return end === MORE ? at : -1;
    at = end;
  }
}
