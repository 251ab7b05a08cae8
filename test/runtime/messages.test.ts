import assert from "node:assert/strict";
import { test } from "node:test";
import { descriptorsOf, sentZones, type ToChild, withDescriptors } from "../../src/runtime/messages.ts";
import { makeOwnZone, makeZone } from "../../src/shm/zone.ts";

const KIND = { name: "test", version: 1 };

function cycle(zone: number): ToChild {
  const data = {
    generation: 1,
    directives: [],
    prefix: "/",
    confPrefix: "/",
    errorLog: "",
    files: new Map(),
    hosts: {},
  };
  return {
    type: "cycle",
    data,
    count: 2,
    shared: false,
    zones: { "test one": { kind: KIND, name: "one", size: 16, key: undefined, fd: zone } },
    sockets: { "127.0.0.1:80": [10, 11], "[::]:80": [11] },
    logs: {
      files: new Map([
        ["/logs/error.log", 2],
        ["/logs/access.log", 13],
      ]),
      standardError: 13,
    },
  };
}

test("each descriptor goes once, and those that every process has do not go", () => {
  assert.deepEqual(descriptorsOf(cycle(12)).toSorted(), [10, 11, 12, 13]);
  assert.deepEqual(descriptorsOf({ type: "sockets", sockets: { a: [7, 8], b: [] }, shared: false }), [7, 8]);
  assert.deepEqual(
    descriptorsOf({ type: "reopen", logs: { files: new Map([["a", 5]]), standardError: undefined } }),
    [5],
  );
  for (const type of ["ping", "quit", "stop"] as const) assert.deepEqual(descriptorsOf({ type }), []);
});

test("the receiver's take their place, wherever they stand", () => {
  const message = cycle(12);
  const received = new Map(descriptorsOf(message).map((fd) => [fd, fd + 20]));
  assert.deepEqual(withDescriptors(message, received), {
    ...cycle(32),
    sockets: { "127.0.0.1:80": [30, 31], "[::]:80": [31] },
    logs: {
      files: new Map([
        ["/logs/error.log", 2],
        ["/logs/access.log", 33],
      ]),
      standardError: 33,
    },
  });
  assert.deepEqual(message, cycle(12), "the message itself stays");
  assert.deepEqual(withDescriptors({ type: "quit" }, received), { type: "quit" });
});

test("a number that the receiver has given to another descriptor is replaced once", () => {
  const swapped = new Map([
    [7, 8],
    [8, 7],
  ]);
  assert.deepEqual(withDescriptors({ type: "sockets", sockets: { a: [7, 8] }, shared: false }, swapped), {
    type: "sockets",
    sockets: { a: [8, 7] },
    shared: false,
  });
});

test("zones go as their descriptions, and only those that are shared", () => {
  const { handle } = makeZone(KIND, "one", 16, "$key");
  assert.ok("fd" in handle.memory);
  assert.deepEqual(sentZones({ "test one": handle }), {
    "test one": { kind: KIND, name: "one", size: 16, key: "$key", fd: handle.memory.fd },
  });
  assert.throws(() => sentZones({ "test own": makeOwnZone(KIND, "own", 16).handle }), {
    message: 'zone "own" is no shared memory',
  });
});
