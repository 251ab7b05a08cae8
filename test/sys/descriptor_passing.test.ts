import assert from "node:assert/strict";
import { once } from "node:events";
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { descriptorSocket, receiveDescriptors, sendDescriptors } from "../../src/sys/descriptor_passing.ts";
import { libc } from "../../src/sys/libc.ts";
import { ended, startProcess } from "../support/sharing.ts";

function sockets(t: TestContext): readonly [number, number] {
  const ends = descriptorSocket();
  t.after(() => {
    for (const end of ends) libc().close(end);
  });
  return ends;
}

/** Descriptors of different files. */
function files(t: TestContext): number[] {
  const fds = ["/dev/null", "/dev/zero", "/proc/self/status", "/"].map((path) => openSync(path, "r"));
  t.after(() => {
    for (const fd of fds) closeSync(fd);
  });
  return fds;
}

const inodes = (fds: readonly number[]) => fds.map((fd) => `${fstatSync(fd).dev}:${fstatSync(fd).ino}`);

test("600 descriptors come in their order, and are closed on exec", (t) => {
  const [mine, theirs] = sockets(t);
  const some = files(t);
  const sent = Array.from({ length: 600 }, (_, i) => some[(i * i) % some.length]);
  assert.equal(sendDescriptors(mine, sent), undefined);
  const received = receiveDescriptors(theirs, 600);
  t.after(() => {
    for (const fd of received) libc().close(fd);
  });
  assert.equal(new Set(received).size, 600);
  assert.deepEqual(inodes(received), inodes(sent));
  for (const fd of [received[0], received[599]]) {
    assert.match(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"), /^flags:\s+0?2\d{6}$/m);
  }
});

test("several messages are read one by one, by their number of descriptors; none is none", (t) => {
  const [mine, theirs] = sockets(t);
  const fds = files(t);
  for (const count of [1, 0, 4, 2]) assert.equal(sendDescriptors(mine, fds.slice(0, count)), undefined);
  for (const count of [1, 0, 4, 2]) {
    const received = receiveDescriptors(theirs, count);
    assert.deepEqual(inodes(received), inodes(fds.slice(0, count)));
    for (const fd of received) libc().close(fd);
  }
});

test("descriptors that did not come are an error with a sentence", (t) => {
  const [, theirs] = sockets(t);
  assert.throws(() => receiveDescriptors(theirs, 1), { name: "Error", message: "recvmsg() failed (EAGAIN)" });
  const [one, other] = descriptorSocket();
  libc().close(one);
  assert.throws(() => receiveDescriptors(other, 1), { name: "Error", message: "the other end is closed" });
  libc().close(other);
});

test("what cannot be sent is named: no such descriptor, nobody there, a receiver that has long read nothing", (t) => {
  const [mine, theirs] = sockets(t);
  assert.equal(sendDescriptors(mine, [99_999]), "EBADF");
  const fds = files(t);
  let failed: string | undefined;
  for (let i = 0; i < 100_000 && failed === undefined; i++) failed = sendDescriptors(mine, fds);
  // The latter for who is not root, and may have no more descriptors on their way than open.
  assert.match(failed ?? "", /^(EAGAIN|ETOOMANYREFS)$/);
  const [one, other] = descriptorSocket();
  libc().close(other);
  assert.equal(sendDescriptors(one, fds), "EPIPE");
  libc().close(one);
  assert.equal(receiveDescriptors(theirs, fds.length).map((fd) => libc().close(fd)).length, fds.length);
});

test("a process that may not have that many closes those that came, and says how many did not", async (t) => {
  const [mine, theirs] = sockets(t);
  const [file] = files(t);
  const sent = Array.from({ length: 600 }, () => file);
  assert.equal(sendDescriptors(mine, sent), undefined);
  const module = new URL("./short_of_descriptors.ts", import.meta.url);
  const child = startProcess(t, module, { task: { expected: sent.length }, fds: [theirs] });
  const [{ failure, before, after }] = await once(child, "message");
  assert.match(failure, /^5\d\d of 600 descriptors did not fit$/);
  assert.equal(after, before);
  await ended(child);
});
