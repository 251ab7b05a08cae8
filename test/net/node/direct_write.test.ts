import assert from "node:assert/strict";
import { test } from "node:test";
import { directHandle, handleCounts } from "../../../src/net/node/direct_write.ts";
import { type HandlePair, openPair, proveDirectWrites } from "../../../src/net/node/direct_write_proof.ts";

/** What a write of the handle answers, as far as this test looks into it. */
interface Handle {
  writeLatin1String(request: null, text: string): unknown;
  readonly bytesWritten: number;
  readonly writeQueueSize: number;
}

const probe = openPair();
probe?.socket.destroy();
const skip = probe === undefined ? "needs Linux and node:ffi" : false;

/** The real handle, but for what `change` has of its own. */
function changed(change: (handle: Handle) => object): () => HandlePair {
  return () => {
    const pair = openPair();
    assert.ok(pair !== undefined);
    const real = pair.handle as Handle;
    const own: object = change(real);
    const handle = new Proxy(real, {
      get(target, name) {
        const value: unknown = name in own ? Reflect.get(own, name) : Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
      has: (target, name) => (name in own ? Reflect.get(own, name) !== undefined : name in target),
    });
    return { ...pair, handle };
  };
}

/** The first `good` writes are real; what `bad` makes of the others' results is what the handle answers. */
function from(good: number, bad: (result: unknown, text: string) => unknown): (handle: Handle) => object {
  return (handle) => {
    let writes = 0;
    return {
      writeLatin1String(request: null, text: string) {
        const result = handle.writeLatin1String(request, text);
        return ++writes > good ? bad(result, text) : result;
      },
    };
  };
}

/** Hides the request of a write that waits: nobody hears of its end. */
const deaf = () => ({ writeStatus: null, oncomplete: undefined });

const WRONG: Readonly<Record<string, readonly [change: (handle: Handle) => object, sentence: RegExp]>> = {
  "no such function": [() => ({ writeLatin1String: undefined }), /lack what is needed/],
  "no counter of bytes": [() => ({ bytesWritten: undefined }), /lack what is needed/],
  "a counter that is no number": [() => ({ writeQueueSize: 0n }), /lack what is needed/],
  "a request asked for": [
    () => ({
      writeLatin1String() {
        throw new TypeError("argument 0 must be an object");
      },
    }),
    /argument 0 must be an object/,
  ],
  "nothing answered": [from(0, () => undefined), /taken is not reported/],
  "an object for a write that was taken": [from(0, deaf), /taken is not reported/],
  "nothing written": [() => ({ writeLatin1String: () => 0 }), /not counted/],
  "bytes not counted": [() => ({ bytesWritten: 0 }), /written bytes are not counted/],
  "the waiting bytes not counted": [() => ({ writeQueueSize: 0 }), /waiting bytes are not counted/],
  "a number for a write that waits": [from(1, () => 0), /waits is not reported/],
  "an end that nobody hears of": [from(1, deaf), /the end of a write that waited is not reported/],
  "a failure that nobody hears of": [from(2, deaf), /the failure of a write that waited is not reported/],
  "a failure that looks like success": [from(3, () => 0), /the failure of a write is not reported/],
};

for (const [name, [change, sentence]] of Object.entries(WRONG)) {
  test(`a handle is not trusted: ${name}`, { skip }, async () => {
    assert.match((await proveDirectWrites(changed(change))) ?? "", sentence);
    const pair = openPair();
    assert.ok(pair !== undefined);
    assert.deepEqual([directHandle(pair.socket), handleCounts(pair.socket)], [undefined, undefined]);
    pair.socket.destroy();
  });
}

test("this Node's own handles are trusted once they were tried", { skip }, async () => {
  assert.equal(await proveDirectWrites(changed(() => ({}))), undefined);
  assert.equal(await proveDirectWrites(), undefined);
  const pair = openPair();
  assert.ok(pair !== undefined && directHandle(pair.socket) !== undefined && handleCounts(pair.socket) !== undefined);
  pair.socket.destroy();
});

test("handles that cannot be tried are not trusted", async () => {
  assert.match((await proveDirectWrites(() => undefined)) ?? "", /could not be tried/);
});
