import { type Mapping, mapMemory } from "../memory.ts";

/** Memory for what OpenSSL reads and writes through pointers. It is never unmapped. Throws RangeError where there is none. */
export function mapped(bytes: number): Mapping {
  const mapping = mapMemory(bytes);
  if (mapping === undefined) throw new RangeError(`mmap() of ${bytes} bytes failed`);
  return mapping;
}
