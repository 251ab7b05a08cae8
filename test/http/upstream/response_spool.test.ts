import assert from "node:assert/strict";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { type TestContext, test } from "node:test";
import { ResponseSpool, type SpoolOwner } from "../../../src/http/upstream/response_spool.ts";
import { libc } from "../../../src/sys/libc.ts";

/** A spool of a response whose settings are these. */
class Spooling {
  readonly logged: string[] = [];
  readonly spool: ResponseSpool;
  #wake: () => void = () => {};

  constructor(t: TestContext, settings: Readonly<Record<string, number>>) {
    const errorLog = { wants: () => true, write: (_level: string, message: string) => this.logged.push(message) };
    const request = {
      location: { errorLog },
      server: { name: "" },
      requestLine: "",
      remote: { family: "unix", path: "" },
      headers: { get: () => undefined },
      connection: { number: 1 },
    };
    const tempPath = { path: tmpdir(), levels: [] };
    const owner = {
      request,
      answerEnded: false,
      settings: { memory: 4, maxTempFile: 1000, tempWriteSize: 1000, tempPath, ...settings },
      onSpool: () => this.#wake(),
    };
    this.spool = new ResponseSpool(owner as unknown as SpoolOwner);
    t.after(() => this.spool.close());
  }

  /** The file has been written or read. */
  advanced(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  /** The next bytes, as soon as they are there. */
  async shift(): Promise<string> {
    return (
      this.#take() ??
      new Promise((resolve) => {
        this.#wake = () => {
          const text = this.#take();
          if (text !== undefined) resolve(text);
        };
      })
    );
  }

  #take(): string | undefined {
    const text = this.spool.first()?.toString();
    if (text !== undefined) this.spool.dropFirst();
    return text;
  }
}

test("what was spooled comes back in order, the file before what is in memory", async (t) => {
  const spooling = new Spooling(t, {});
  const { spool } = spooling;
  for (const piece of ["abcd", "efgh", "ij"]) spool.push(Buffer.from(piece));
  assert.equal(spool.full, true, "until the file has it");
  await spooling.advanced();
  assert.equal(spool.full, false);
  spool.push(Buffer.from("kl"));
  assert.equal(await spooling.shift(), "abcdefghij");
  assert.equal(await spooling.shift(), "kl");
  assert.deepEqual([spool.length, spool.failed], [0, false]);
});

test("what the client takes in the same turn goes to no file", async (t) => {
  const spooling = new Spooling(t, {});
  spooling.spool.push(Buffer.from("abcdef"));
  assert.equal(await spooling.shift(), "abcdef");
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(spooling.logged, []);
});

test("the file never exceeds its limit, is written in pieces of the size set, and makes room when it was read", async (t) => {
  const spooling = new Spooling(t, { maxTempFile: 10, tempWriteSize: 4 });
  const { spool } = spooling;
  const write = t.mock.method(fs, "write");
  const positions = (): unknown[] => write.mock.calls.map((call) => [...call.arguments].slice(3, 5).reverse());
  spool.push(Buffer.from("abcdefghijklmnop"));
  for (let i = 0; i < 3; i++) await spooling.advanced();
  assert.deepEqual(positions(), [
    [0, 4],
    [4, 4],
    [8, 2],
  ]);
  assert.equal(spool.full, true);
  assert.equal(await spooling.shift(), "abcdefghij");
  spool.push(Buffer.from("qr"));
  await spooling.advanced();
  assert.deepEqual(positions()[3], [0, 4]);
});

test("a full disk fails the response, in nginx's words", async (t) => {
  const spooling = new Spooling(t, {});
  t.mock.method(fs, "write", (...args: unknown[]) => {
    const then = args.at(-1);
    assert.ok(typeof then === "function");
    setImmediate(() => then(Object.assign(new Error("full"), { code: "ENOSPC" }), 0));
  });
  spooling.spool.push(Buffer.from("abcdefgh"));
  await spooling.advanced();
  assert.equal(spooling.spool.failed, true);
  assert.match(
    spooling.logged.at(-1) ?? "",
    /^pwrite\(\) ".*" failed \(28: No space left on device\) while reading upstream/,
  );
});

for (const [what, spoil, sentence] of [
  ["cannot be read", replaceByDirectory, "21: Is a directory"],
  ["has lost its end", (fd: number) => fs.ftruncateSync(fd), "truncated file"],
] as const) {
  test(`a file that ${what} fails the response instead of ending it`, async (t) => {
    const spooling = new Spooling(t, {});
    const { spool, logged } = spooling;
    const write = t.mock.method(fs, "write");
    spool.push(Buffer.from("abcdefgh"));
    await spooling.advanced();
    spoil(write.mock.calls[0].arguments[0]);
    assert.equal(spool.first(), undefined);
    await spooling.advanced();
    assert.equal(spool.failed, true);
    assert.ok(logged.at(-1)?.includes(`failed (${sentence}) while sending to client`));
  });
}

function replaceByDirectory(fd: number): void {
  const directory = fs.openSync(tmpdir(), "r");
  libc().dup2(directory, fd);
  fs.closeSync(directory);
}

test("a spool that is closed while its file is written leaves no descriptor", async (t) => {
  const { spool } = new Spooling(t, {});
  const close = t.mock.method(fs, "closeSync");
  const write = t.mock.method(fs, "write");
  spool.push(Buffer.from("abcdefgh"));
  while (write.mock.callCount() === 0) await new Promise((resolve) => setImmediate(resolve));
  spool.close();
  assert.equal(close.mock.callCount(), 0, "not while the system works with it");
  while (close.mock.callCount() === 0) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(close.mock.calls[0].arguments[0], write.mock.calls[0].arguments[0]);
});
