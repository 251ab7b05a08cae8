/**
 * Huffman's code of HPACK (RFC 7541 appendix B). It is canonical: codes of one length follow one another in the order of their
 * bytes, and shorter ones come first, so that the lengths say it all.
 */

/** The length of each byte's code in bits, and last that of the end of a string. */
// biome-ignore format: a table
const LENGTHS = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
];
const END = 256;

/** A node's children, or the complement of a byte where a code ends; 0: none. */
const trees: [Int16Array, Int16Array] = [new Int16Array(257), new Int16Array(257)];

/*
 * Decoding takes four bits at a time: for each node of the tree and four bits the node they lead to, and the byte that
 * ends on the way, of which there is at most one since no code has fewer than five bits.
 */
const NIBBLE = 16;
/** Of a step: the node, whether a byte comes out, whether the string may end there, and the byte. */
const NODE = 0x1ff;
const EMITS = 0x200;
const ACCEPTS = 0x400;
const BYTE_SHIFT = 11;
/** No code begins so. */
const FAILS = -1;
const steps = new Int32Array(257 * NIBBLE);

/** The code of each byte, right-aligned. */
const codes = new Uint32Array(257);

function build(): void {
  const order = LENGTHS.map((_, byte) => byte).sort((a, b) => LENGTHS[a] - LENGTHS[b] || a - b);
  let nodes = 1;
  let code = 0;
  let length = LENGTHS[order[0]];
  for (const [place, byte] of order.entries()) {
    if (place > 0) code = (code + 1) * 2 ** (LENGTHS[byte] - length);
    length = LENGTHS[byte];
    codes[byte] = code;
    let node = 0;
    for (let bit = length - 1; bit > 0; bit--) {
      const tree = trees[(code >>> bit) & 1];
      if (tree[node] === 0) tree[node] = nodes++;
      node = tree[node];
    }
    trees[code & 1][node] = ~byte;
  }
  for (let node = 0; node < nodes; node++) {
    for (let bits = 0; bits < NIBBLE; bits++) steps[node * NIBBLE + bits] = stepFrom(node, bits);
  }
}

function stepFrom(from: number, bits: number): number {
  let node = from;
  let out = 0;
  for (let bit = 3; bit >= 0; bit--) {
    const next = trees[(bits >> bit) & 1][node];
    if (next < 0) {
      if (~next === END) return FAILS;
      out = EMITS | (~next << BYTE_SHIFT);
      node = 0;
    } else {
      node = next;
    }
  }
  return out | node | (isPadding(node) ? ACCEPTS : 0);
}

/** Whether what leads to that node is nothing, or bits of 1. As in nginx there may be more than the seven that RFC 7541 allows. */
function isPadding(node: number): boolean {
  for (let at = 0; at >= 0; at = trees[1][at]) if (at === node) return true;
  return false;
}

build();

/**
 * Decodes `bytes[start..end)` into `out` from `at` on, where there must be room for 8/5 of it. Returns where it ended, or -1
 * where it is no string of that code.
 */
export function decodeHuffman(bytes: Uint8Array, start: number, end: number, out: Uint8Array, at: number): number {
  let node = 0;
  let to = at;
  let accepts = true;
  for (let from = start; from < end; from++) {
    const byte = bytes[from];
    let step = steps[node * NIBBLE + (byte >> 4)];
    if (step < 0) return -1;
    if ((step & EMITS) !== 0) out[to++] = step >> BYTE_SHIFT;
    step = steps[(step & NODE) * NIBBLE + (byte & 15)];
    if (step < 0) return -1;
    if ((step & EMITS) !== 0) out[to++] = step >> BYTE_SHIFT;
    node = step & NODE;
    accepts = (step & ACCEPTS) !== 0;
  }
  return accepts ? to : -1;
}

/** A byte string in that code where that makes it shorter, else undefined. */
export function encodeHuffman(text: string): string | undefined {
  let bits = 0;
  for (let i = 0; i < text.length; i++) bits += LENGTHS[text.charCodeAt(i)];
  if (bits > 8 * text.length - 8) return undefined;
  const bytes = Buffer.allocUnsafe((bits + 7) >> 3);
  let at = 0;
  // What was not written yet: fewer than eight bits.
  let rest = 0;
  let held = 0;
  for (let i = 0; i < text.length; i++) {
    const byte = text.charCodeAt(i);
    // The longest codes have thirty bits.
    for (let left = LENGTHS[byte]; left > 0; ) {
      const count = Math.min(left, 8 - held);
      left -= count;
      rest = (rest << count) | ((codes[byte] >>> left) & ((1 << count) - 1));
      held += count;
      if (held === 8) {
        bytes[at++] = rest;
        rest = 0;
        held = 0;
      }
    }
  }
  // Padding is the beginning of the end's code.
  if (held > 0) bytes[at] = (rest << (8 - held)) | (0xff >> held);
  return bytes.latin1Slice();
}
