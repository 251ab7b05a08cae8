/**
 * 16 bytes that stand for a text in shared memory: the same in every process, and for different texts different. The texts are
 * an operator's (names of servers and checks), so a cryptographic hash, and OpenSSL with it (sys/builtin.ts), is not needed.
 * It is cyrb128, of MurmurHash3's steps and constants. A zone that holds such digests has to change its version with it.
 */
export function digest(text: string): Buffer {
  let a = 0x6b7a_97a1;
  let b = 0xbb67_ae85 | 0;
  let c = 0x3c6e_f372;
  let d = 0xa54f_f53a | 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = b ^ Math.imul(a ^ code, 597_399_067);
    b = c ^ Math.imul(b ^ code, 2_869_860_233);
    c = d ^ Math.imul(c ^ code, 951_274_213);
    d = a ^ Math.imul(d ^ code, 2_716_044_179);
  }
  a = Math.imul(c ^ (a >>> 18), 597_399_067);
  b = Math.imul(d ^ (b >>> 22), 2_869_860_233);
  c = Math.imul(a ^ (c >>> 17), 951_274_213);
  d = Math.imul(b ^ (d >>> 19), 2_716_044_179);
  a ^= b ^ c ^ d;
  const words = Int32Array.of(a, b ^ a, c ^ a, d ^ a);
  return Buffer.from(words.buffer);
}
