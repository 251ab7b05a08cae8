/** A record as an application may send it: any padding, any id. */
export function record(type: number, content: string, padding = 0, id = 1, version = 1): string {
  const { length } = content;
  const header = String.fromCharCode(version, type, id >> 8, id & 0xff, length >> 8, length & 0xff, padding, 0xaa);
  return header + content + "\xee".repeat(padding);
}
