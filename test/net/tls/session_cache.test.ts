import assert from "node:assert/strict";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { MAX_SESSION, SESSION_CACHE, SessionCache } from "../../../src/net/tls/session_cache.ts";
import { makeZone, type Zone } from "../../../src/shm/zone.ts";
import { kill, startProcess } from "../../support/sharing.ts";

const MIB = 1 << 20;
/** What OpenSSL makes of a session of TLS 1.3 whose client said which server it wants. */
const TYPICAL = 170;

function newZone(size = MIB): Zone {
  return makeZone(SESSION_CACHE, "SSL", size);
}

function newCache(zone: Zone = newZone()): { cache: SessionCache; logged: string[] } {
  const logged: string[] = [];
  return { cache: new SessionCache(zone, (level, text) => logged.push(`${level}: ${text}`)), logged };
}

/** An id of 32 bytes. */
function id(number: number): string {
  return String(number).padEnd(32, "\xff");
}

/** A session that can be told from others. */
function session(number: number, bytes = TYPICAL): Buffer {
  return Buffer.alloc(bytes, `session ${number} `);
}

const found = Buffer.alloc(MAX_SESSION);

function find(cache: SessionCache, name: string): Buffer | undefined {
  const length = cache.find(name, found);
  return length === 0 ? undefined : found.subarray(0, length);
}

/** Lets the shared clock go on when it is told to. */
function stopClock(t: TestContext): (seconds: number) => void {
  let now = performance.now();
  t.mock.method(performance, "now", () => now);
  return (seconds) => {
    now += seconds * 1000;
  };
}

test("a session is found by its id in every process that has the zone, until it is removed", () => {
  const zone = newZone();
  const { cache: one } = newCache(zone);
  const { cache: other } = newCache(zone);
  one.store(id(1), session(1), 300);
  one.store(id(2), session(2, 1), 300);
  assert.deepEqual(find(other, id(1)), session(1));
  assert.deepEqual(find(other, id(2)), session(2, 1));
  assert.equal(find(other, id(3)), undefined);
  other.remove(id(1));
  other.remove(id(3));
  assert.equal(find(one, id(1)), undefined);
  assert.equal(one.size, 1);
});

test("a session that is stored again replaces the one before", () => {
  const { cache } = newCache();
  cache.store(id(1), session(1), 300);
  cache.store(id(1), session(2, 400), 300);
  assert.deepEqual(find(cache, id(1)), session(2, 400));
  assert.equal(cache.size, 1);
});

test("what is too long to be a session is not kept", () => {
  const { cache, logged } = newCache();
  cache.store(id(1), session(1, MAX_SESSION + 1), 300);
  cache.store("x".repeat(33), session(1), 300);
  cache.store("", session(1), 300);
  assert.equal(cache.size, 0);
  cache.store(id(1), session(1, MAX_SESSION), 300);
  assert.deepEqual(find(cache, id(1)), session(1, MAX_SESSION));
  assert.equal(cache.find(id(1), Buffer.alloc(MAX_SESSION - 1)), 0);
  assert.deepEqual(logged, []);
});

test("a session expires, and the next ones to be stored take its place", (t) => {
  const advance = stopClock(t);
  const { cache } = newCache();
  for (const number of [1, 2, 3]) cache.store(id(number), session(number), 10);
  cache.store(id(4), session(4), 300);
  advance(9);
  assert.deepEqual(find(cache, id(1)), session(1));
  advance(1);
  assert.equal(find(cache, id(1)), undefined);
  assert.equal(cache.size, 3);
  cache.store(id(5), session(5), 300);
  assert.equal(cache.size, 2);
  assert.deepEqual(find(cache, id(4)), session(4));
});

test("a mebibyte holds 3,900 sessions, and the oldest one makes room for the next", () => {
  const { cache, logged } = newCache();
  let stored = 0;
  while (cache.size === stored) cache.store(id(++stored), session(stored), 300);
  assert.ok(stored > 3900, `${stored} sessions`);
  assert.equal(find(cache, id(1)), undefined);
  for (let number = stored - 3900; number <= stored; number++)
    assert.deepEqual(find(cache, id(number)), session(number));
  assert.deepEqual(logged, []);
});

test("old sessions of one size make room for those of any other", () => {
  const { cache, logged } = newCache(newZone(8 * 4096));
  for (const bytes of [100, 1500, 40, 3000, 70, 700]) {
    for (let number = 0; number < 300; number++) {
      cache.store(id(number), session(number, bytes), 300);
      assert.deepEqual(find(cache, id(number)), session(number, bytes), `number ${number} of ${bytes} bytes`);
    }
  }
  assert.deepEqual(logged, []);
});

test("a session that finds no room is logged, once a second", (t) => {
  const advance = stopClock(t);
  const { cache, logged } = newCache(newZone(2 * 4096));
  const line = 'warn: could not allocate new session in SSL session shared cache "SSL"';
  cache.store(id(1), session(1, MAX_SESSION), 300);
  cache.store(id(1), session(1, MAX_SESSION), 300);
  assert.deepEqual(logged, [line]);
  advance(1);
  cache.store(id(1), session(1, MAX_SESSION), 300);
  assert.deepEqual(logged, [line, line]);
});

test("nothing of a session stays in memory when it is removed", () => {
  const zone = newZone();
  const { cache } = newCache(zone);
  cache.store(id(1), Buffer.from("master key of session 1"), 300);
  assert.ok(zone.bytes.includes("master key of session 1"));
  cache.remove(id(1));
  assert.ok(!zone.bytes.includes("key of session 1"));
});

test("a worker that is killed with the zone locked takes no other session with it", async (t) => {
  const zone = newZone();
  const { cache, logged } = newCache(zone);
  for (let number = 0; number < 100; number++) cache.store(id(number), session(number), 300);
  const dying = startProcess(t, new URL("./session_cache_process.ts", import.meta.url), { zones: [zone] });
  await once(dying, "message");
  await kill(dying);
  for (let number = 0; number < 100; number++) assert.deepEqual(find(cache, id(number)), session(number));
  assert.equal(logged.length, 1);
  assert.match(logged[0], /^alert: a worker died with zone "SSL" locked, \d+ entries were put in order$/);
  for (let number = 200; number < 300; number++) {
    cache.store(id(number), session(number), 300);
    assert.deepEqual(find(cache, id(number)), session(number));
  }
});

test("a key is used up once in all processes, for as long as is said", (t) => {
  const advance = stopClock(t);
  const zone = newZone();
  const key = `a key that is no session's id ${"x".repeat(10)}`;
  const [one, other] = [newCache(zone).cache, newCache(zone).cache];
  assert.ok(one.useUp(key, 30));
  assert.ok(!one.useUp(key, 30));
  assert.ok(!other.useUp(key, 30));
  assert.ok(other.useUp(`${key}x`, 30));
  advance(30);
  assert.ok(other.useUp(key, 30));
});
