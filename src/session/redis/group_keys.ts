import { type Link, Script } from "../../redis/link.ts";
import type { Environment } from "../zone/environment.ts";

/**
 * The keys that sign the cookies of a group, where no file has them: a list in Redis, to which each node brings what it has signed
 * with before it knew the others'. A node keeps a copy, so that it starts without Redis too.
 */

const KEY_BYTES = 32;
const MOST_KEYS = 16;
const NOTE = Buffer.from("group keys");
/** The note of the embedded store: the key that this node has made. */
const OWN = Buffer.from("keys");

const SHARE = new Script(`local known = redis.call('LRANGE', KEYS[1], 0, -1)
for _, key in ipairs(ARGV) do
  local new = #known < ${MOST_KEYS}
  for _, one in ipairs(known) do if one == key then new = false end end
  if new then
    redis.call('RPUSH', KEYS[1], key)
    known[#known + 1] = key
  end
end
return known`);

/** What this node knows of them; undefined: nothing yet. */
export function knownKeys({ notes }: Environment): readonly Buffer[] | undefined {
  notes.resetReadTxn();
  const bytes = notes.getBinary(NOTE);
  if (bytes === undefined) return undefined;
  return Array.from({ length: Math.floor(bytes.length / KEY_BYTES) }, (_, at) =>
    Buffer.from(bytes.subarray(at * KEY_BYTES, (at + 1) * KEY_BYTES)),
  );
}

/** Tells the group of this node's keys, and notes all that there are. */
export async function shareKeys(environment: Environment, link: Link, key: string): Promise<void> {
  const known = knownKeys(environment) ?? [];
  const made = environment.notes.getBinary(OWN);
  const own = made === undefined || known.some((one) => one.equals(made)) ? known : [...known, Buffer.from(made)];
  const answer = await link.run(SHARE, key, own);
  if (!Array.isArray(answer)) throw new Error(`"${key}" is no list of keys`);
  const all = answer.filter((one): one is Buffer => one instanceof Buffer && one.length === KEY_BYTES);
  const note = Buffer.concat(all);
  if (note.length > 0 && !Buffer.concat([...known]).equals(note)) {
    environment.write(() => environment.notes.putSync(NOTE, note));
  }
}
