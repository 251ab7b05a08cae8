import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  parseTicketKey,
  SharedTicketKeys,
  TICKET_KEYS,
  TICKET_KEYS_BYTES,
  type TicketKeys,
  ticketKeysOf,
} from "../../../src/net/tls/ticket_keys.ts";
import { makeZone, type Zone } from "../../../src/shm/zone.ts";

const TIMEOUT = 300;

function newZone(): Zone {
  return makeZone(TICKET_KEYS, "SSL", TICKET_KEYS_BYTES);
}

/** Lets the shared clock go on when it is told to. */
function stopClock(t: TestContext): (seconds: number) => void {
  let now = performance.now();
  t.mock.method(performance, "now", () => now);
  return (seconds) => {
    now += seconds * 1000;
  };
}

function namesIn(keys: TicketKeys): string[] {
  return keys.current(TIMEOUT).map(({ name }) => name.toString("hex"));
}

test("a file of 48 bytes has a key for AES-128, one of 80 bytes for AES-256, as nginx divides them", () => {
  const file = Buffer.from(Array.from({ length: 80 }, (_, i) => i));
  const short = parseTicketKey(file.subarray(0, 48));
  assert.deepEqual(short, {
    name: file.subarray(0, 16),
    aes: file.subarray(16, 32),
    hmac: file.subarray(32, 48),
  });
  const long = parseTicketKey(file);
  assert.deepEqual(long, { name: file.subarray(0, 16), hmac: file.subarray(16, 48), aes: file.subarray(48, 80) });
  for (const bytes of [0, 47, 49, 79]) assert.equal(parseTicketKey(file.subarray(0, bytes)), undefined);
});

test("keys of files stay as they are", () => {
  const key = parseTicketKey(Buffer.alloc(48, 1));
  assert.ok(key);
  const keys = ticketKeysOf([key]);
  assert.deepEqual(keys.current(TIMEOUT), [key]);
});

test("all workers have the same keys, and nobody can guess them", () => {
  const zone = newZone();
  const one = new SharedTicketKeys(zone);
  const other = new SharedTicketKeys(zone);
  const [current, previous] = one.current(TIMEOUT);
  assert.deepEqual(other.current(TIMEOUT), [current, previous]);
  // Until they are changed for the first time there is no previous one.
  assert.deepEqual(previous, current);
  for (const { name, hmac, aes } of [current]) {
    assert.deepEqual([name.length, hmac.length, aes.length], [16, 32, 32]);
    for (const part of [name, hmac, aes]) assert.ok(new Set(part).size > 3);
  }
  assert.notDeepEqual(new SharedTicketKeys(newZone()).current(TIMEOUT), [current, previous]);
});

test("a key is changed when no ticket needs the one before it any longer, and decrypts as long as one may need it", (t) => {
  const advance = stopClock(t);
  const zone = newZone();
  const one = new SharedTicketKeys(zone);
  const other = new SharedTicketKeys(zone);
  const [first] = namesIn(one);
  namesIn(other);
  advance(TIMEOUT);
  assert.deepEqual(namesIn(one), [first, first]);
  advance(1);
  const [second, before] = namesIn(other);
  assert.equal(before, first);
  assert.notEqual(second, first);
  assert.deepEqual(namesIn(one), [second, first]);
  // A ticket of the last second of the first key may be used for TIMEOUT.
  advance(TIMEOUT - 1);
  assert.deepEqual(namesIn(one), [second, first]);
  advance(1);
  const [third] = namesIn(one);
  assert.deepEqual(namesIn(one), [third, second]);
  assert.ok(![first, second].includes(third));
  assert.deepEqual(namesIn(other), [third, second]);
});

test("servers with different timeouts share keys, which last for the longest", (t) => {
  const advance = stopClock(t);
  const keys = new SharedTicketKeys(newZone());
  const [first] = namesIn(keys);
  keys.current(10 * TIMEOUT);
  advance(TIMEOUT + 1);
  const [, before] = namesIn(keys);
  assert.equal(before, first);
  advance(9 * TIMEOUT - 2);
  assert.equal(namesIn(keys)[1], first);
});

test("keys that nobody needs are not left in memory", (t) => {
  const advance = stopClock(t);
  const zone = newZone();
  const keys = new SharedTicketKeys(zone);
  const [{ aes }] = keys.current(TIMEOUT);
  assert.ok(zone.bytes.includes(aes));
  for (let times = 0; times < 2; times++) {
    advance(TIMEOUT + 1);
    keys.current(TIMEOUT);
  }
  assert.ok(!zone.bytes.includes(aes));
});

test("wherever a worker dies while it changes keys, the others have those before or the new ones", (t) => {
  const advance = stopClock(t);
  for (let at = 0, done = false; !done; at++) {
    const zone = newZone();
    const [first] = namesIn(new SharedTicketKeys(zone));
    advance(TIMEOUT);
    namesIn(new SharedTicketKeys(zone));
    advance(1);
    try {
      new SharedTicketKeys(dyingView(zone, at)).current(TIMEOUT);
      done = true;
    } catch (error) {
      if (!(error instanceof Death)) throw error;
    }
    const [current, previous] = namesIn(new SharedTicketKeys(zone));
    assert.equal(previous, first, `at write ${at}`);
    assert.notEqual(current, first);
    assert.doesNotMatch(current, /^0+$/);
    advance(TIMEOUT);
    assert.equal(namesIn(new SharedTicketKeys(zone))[1], current);
  }
});

/** The write at which a process dies. */
class Death extends Error {}

/** The zone as a process sees it that dies at its write number `at` of a word or a float, or of a piece of bytes. */
function dyingView(zone: Zone, at: number): Zone {
  let writes = 0;
  const step = (): void => {
    if (writes++ === at) throw new Death();
  };
  const watched = <T extends object>(target: T): T =>
    new Proxy(target, {
      get: (_, property) => Reflect.get(target, property, target),
      set(_, property, value) {
        step();
        return Reflect.set(target, property, value, target);
      },
    });
  const bytes = new Proxy(zone.bytes, {
    get(target, property) {
      const value = Reflect.get(target, property, target);
      if (property !== "subarray") return typeof value === "function" ? value.bind(target) : value;
      return (from: number, to: number) => {
        step();
        return target.subarray(from, to);
      };
    },
  });
  const views = { words: watched(zone.words), floats: watched(zone.floats), bytes };
  return Object.assign(Object.create(zone), { ...views, lock: () => false, unlock() {} });
}
