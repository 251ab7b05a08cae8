/** What a connection keeps while it waits for the next request: there may be very many of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { getHeapStatistics, queryObjects, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Request } from "../../../../src/http/core/request.ts";
import { H1Connection } from "../../../../src/http/server/h1/connection.ts";
import { RequestMemory } from "../../../../src/http/server/h1/request_memory.ts";
import { armedDeadlines } from "../../../../src/sys/timers.ts";
import { answers, opened, POST, receive, whenHeld } from "./harness.ts";

const CONNECTIONS = 1000;
/** Bytes of JavaScript's heap for each, the test's own stream included: measured 720. A request's memory would be 1,300 more. */
const MOST = 1000;

setFlagsFromString("--expose-gc");
const collectGarbage: () => void = runInNewContext("gc");

function heapUsed(): number {
  collectGarbage();
  return getHeapStatistics().used_heap_size;
}

/** How many of a class live; `queryObjects` collects the others first. */
function count(type: new (...args: never) => object): number {
  return queryObjects(type as unknown as () => void, { format: "count" });
}

/** A connection that has made one request, and waits for the next. */
function idle(): ReturnType<typeof opened> {
  const stream = opened();
  receive(stream, `GET /a HTTP/1.1\r\nHost: one\r\nCookie: ${"c".repeat(2000)}\r\n\r\n`);
  assert.deepEqual(answers(stream.written), ["200 /a"]);
  stream.written = "";
  return stream;
}

/** Bytes for each of many of them. Only here: what the test itself refers to could not be collected. */
function hold(): number {
  const deadlines = armedDeadlines();
  const before = heapUsed();
  const streams = Array.from({ length: CONNECTIONS }, idle);
  const each = Math.round((heapUsed() - before) / CONNECTIONS);
  assert.equal(armedDeadlines() - deadlines, CONNECTIONS);
  assert.deepEqual([count(Request), count(RequestMemory)], [0, 1]);
  for (const stream of streams) stream.destroy();
  return each;
}

test("idle connections share the memory for requests, and keep nothing of their last one", (t) => {
  // What V8 makes when code runs for the first times is not counted.
  for (let i = 0; i < CONNECTIONS; i++) idle().destroy();
  // In one round V8 may have compiled something, or dropped what it had compiled: the median.
  const rounds = Array.from({ length: 5 }, hold).toSorted((a, b) => a - b);
  t.diagnostic(`${rounds} bytes for each connection`);
  assert.ok(rounds[2] < MOST, `${rounds} bytes`);
  assert.equal(count(H1Connection), 0);
});

test("memory of a request goes from one connection to another, and never to two", (t) => {
  const held: Request[] = [];
  whenHeld((request) => held.push(request));
  t.after(() => whenHeld(() => {}));
  const streams = [opened(), opened(), opened()];
  for (const stream of streams) receive(stream, POST);
  assert.equal(new Set(held.map(({ headers }) => headers)).size, 3);
  assert.equal(new Set(held.map(({ response }) => response)).size, 3);
  for (const stream of streams) stream.destroy();
});
