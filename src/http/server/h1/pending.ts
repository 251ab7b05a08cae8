/** From so many bytes on that cannot be taken yet no more are read. A read adds at most 64 KiB. */
export const PENDING = 16 * 1024;

/** A copy in memory of its own, with room for more. */
export function copied(bytes: Buffer, room: number): Buffer {
  const copy = Buffer.allocUnsafeSlow(room).subarray(0, bytes.length);
  copy.set(bytes);
  return copy;
}

/** What `copied` made, or a part of it, with more bytes behind it: in place where there is room, else with twice the room. */
export function appended(to: Buffer, bytes: Buffer): Buffer {
  const length = to.length + bytes.length;
  const end = to.byteOffset + length;
  if (end > to.buffer.byteLength) to = copied(to, length * 2);
  const whole = Buffer.from(to.buffer, to.byteOffset, length);
  whole.set(bytes, length - bytes.length);
  return whole;
}
