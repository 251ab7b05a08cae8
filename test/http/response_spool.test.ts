import assert from "node:assert/strict";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { test } from "node:test";
import type { Request } from "../../src/http/request.ts";
import { ResponseSpool } from "../../src/http/upstream/response_spool.ts";
import type { UpstreamSettings } from "../../src/http/upstream/settings.ts";

function spool(logged: string[]): ResponseSpool {
  const errorLog = { wants: () => true, write: (_level: string, message: string) => logged.push(message) };
  const request = {
    location: { errorLog },
    server: { name: "" },
    requestLine: "",
    remote: { family: "unix", path: "" },
    headers: { get: () => undefined },
    connection: { number: 1 },
  };
  const settings = { memory: 4, maxTempFile: 1000, tempPath: { path: tmpdir(), levels: [] } };
  return new ResponseSpool(request as unknown as Request, settings as unknown as UpstreamSettings);
}

test("what was spooled comes back in order, memory first, then the file", () => {
  const spooled = spool([]);
  for (const piece of ["abcd", "efgh", "ij"]) spooled.push(Buffer.from(piece));
  assert.equal(String(spooled.shift()), "abcd");
  assert.equal(String(spooled.shift()), "efghij");
  assert.deepEqual([spooled.length, spooled.failed], [0, false]);
  spooled.close();
});

for (const [what, readSync] of [
  ["cannot be read", () => assert.fail("EIO")],
  ["has lost its end", () => 0],
] as const) {
  test(`a file that ${what} fails the response instead of ending it`, (t) => {
    const logged: string[] = [];
    const spooled = spool(logged);
    spooled.push(Buffer.from("abcdefgh"));
    t.mock.method(fs, "readSync", readSync);
    assert.equal(spooled.shift().length, 0);
    assert.deepEqual([spooled.length, spooled.failed], [0, true]);
    assert.match(logged[logged.length - 1], /^pread\(\) ".*" failed \(.*\) while sending to client/);
    spooled.close();
  });
}
