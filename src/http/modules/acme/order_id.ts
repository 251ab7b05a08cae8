import type { KeyType, Order } from "./order.ts";

/**
 * The name of an order's files in `state_path`. It is the one that nginx's module gives them, so that an nginx's
 * certificates are found: SipHash-2-4 with a key of zeros over what Rust's `#[derive(Hash)]` feeds of the order.
 */

const U64 = 0xffffffffffffffffn;
/** Discriminants of nginx's enums. */
const IDENTIFIER = { dns: 0n, ip: 1n } as const;
const KEY = { ecdsa: 0n, rsa: 1n } as const;

export function orderId({ identifiers, key }: Pick<Order, "identifiers" | "key">): string {
  const name = identifiers.find(({ type }) => type === "dns") ?? identifiers[0];
  const parts = [number64(BigInt(identifiers.length))];
  for (const { type, value } of identifiers) {
    // A string is followed by a byte that is in none.
    parts.push(number64(IDENTIFIER[type]), Buffer.from(value, "latin1"), Buffer.from([0xff]));
  }
  parts.push(keyBytes(key));
  return `${name.value}-${sipHash(Buffer.concat(parts)).toString(16)}`;
}

function keyBytes({ name, bits }: KeyType): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeBigUInt64LE(KEY[name]);
  bytes.writeUInt32LE(bits, 8);
  return bytes;
}

function number64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

/** SipHash-2-4 (Aumasson and Bernstein) with a key of zeros. */
function sipHash(bytes: Buffer): bigint {
  let v0 = 0x736f6d6570736575n;
  let v1 = 0x646f72616e646f6dn;
  let v2 = 0x6c7967656e657261n;
  let v3 = 0x7465646279746573n;
  const rotated = (value: bigint, by: bigint) => ((value << by) | (value >> (64n - by))) & U64;
  const rounds = (count: number): void => {
    for (let i = 0; i < count; i++) {
      v0 = (v0 + v1) & U64;
      v1 = rotated(v1, 13n) ^ v0;
      v0 = rotated(v0, 32n);
      v2 = (v2 + v3) & U64;
      v3 = rotated(v3, 16n) ^ v2;
      v0 = (v0 + v3) & U64;
      v3 = rotated(v3, 21n) ^ v0;
      v2 = (v2 + v1) & U64;
      v1 = rotated(v1, 17n) ^ v2;
      v2 = rotated(v2, 32n);
    }
  };
  const whole = bytes.length - (bytes.length % 8);
  const last = Buffer.alloc(8);
  bytes.copy(last, 0, whole);
  last[7] = bytes.length;
  const absorb = (word: bigint): void => {
    v3 ^= word;
    rounds(2);
    v0 ^= word;
  };
  for (let at = 0; at < whole; at += 8) absorb(bytes.readBigUInt64LE(at));
  absorb(last.readBigUInt64LE());
  v2 ^= 0xffn;
  rounds(4);
  return v0 ^ v1 ^ v2 ^ v3;
}
