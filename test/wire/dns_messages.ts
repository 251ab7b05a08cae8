import { encodeQuestion } from "../../src/wire/dns.ts";
import { cname, TYPE } from "../support/dns.ts";

/** A query for a.test. */
export const QUESTION = encodeQuestion("a.test", TYPE.a);

/** An answer to QUESTION. */
export function answer(records: readonly Buffer[], flags = 0x8180): Buffer {
  const bytes = Buffer.concat([QUESTION, ...records]);
  bytes.writeUInt16BE(flags, 2);
  bytes.writeUInt16BE(records.length, 6);
  return bytes;
}

/** A CNAME record of a.test with these bytes for its target. */
export function target(...data: readonly number[]): Buffer {
  return Buffer.from([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, data.length, ...data]);
}

/** Where the data of an answer's first record begins. */
const DATA = QUESTION.length + 12;

/** A whole answer, with an alias. */
export const GOOD = answer([cname(60, "b.test")]);
const changed = (at: number, value: number) => {
  const bytes = Buffer.from(GOOD);
  bytes[at] = value;
  return bytes;
};

/** Datagrams that are no answer to QUESTION. */
export const UNUSABLE: Readonly<Record<string, Buffer>> = {
  empty: Buffer.alloc(0),
  "another id": changed(1, 1),
  "a question": changed(2, 1),
  "another operation": changed(2, 0x89),
  "no question": changed(5, 0),
  "another name": changed(13, 98),
  "another type": changed(21, 28),
  "cut off in the record": GOOD.subarray(0, GOOD.length - 1),
  "cut off in the question": GOOD.subarray(0, 20),
  "fewer records than said": changed(7, 2).subarray(0, GOOD.length - 2),
  "a pointer to itself": answer([target(0xc0, DATA)]),
  "pointers in a circle": answer([target(0xc0, DATA + 2, 0xc0, DATA)]),
  "a pointer before its own name": answer([target(1, 98, 0xc0, DATA)]),
  "a pointer forward": answer([target(0xc0, DATA + 2, 1, 98, 0)]),
  "a pointer into the header": answer([target(0xc0, 0)]),
  "half a pointer": answer([target(1, 98, 0xc0)]),
  "a label of a reserved kind": answer([target(0x41, 98, 0)]),
  "a label beyond the end": answer([target(60, 98, 0)]),
  "a dot within a label": answer([target(3, 98, 46, 98, 0)]),
  "a name without its end": answer([target(1, 98)]),
  "bytes after the name": answer([target(1, 98, 0, 0)]),
  "a name too long": answer([target(...Array.from({ length: 60 }, () => [4, 98, 98, 98, 98]).flat(), 0)]),
};
