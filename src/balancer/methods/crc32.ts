/** CRC-32 (ISO 3309, polynomial 0xedb88320), in steps: nginx's hashes continue one after the fact. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc >>> 0;
});

export const CRC_START = 0xffffffff;

export function crcByte(crc: number, byte: number): number {
  return TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
}

/** Continues with the bytes of a byte string. */
export function crcText(crc: number, text: string): number {
  let sum = crc;
  for (let i = 0; i < text.length; i++) sum = crcByte(sum, text.charCodeAt(i));
  return sum;
}

export function crcEnd(crc: number): number {
  return (crc ^ 0xffffffff) >>> 0;
}
