import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { cannedBackend } from "../support/backend.ts";
import { runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";

const config = (port: number) => `http { upstream u { zone u 64k; state servers.conf; }
  server { listen ${port}; location / { proxy_pass http://u; add_header X-Server $upstream_addr always; } } }`;

test("an upstream's servers are those in its state file, which a reload reads again", async (t) => {
  const backend = await cannedBackend(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port) });
  const none = await get(holdfast.port, "/");
  assert.equal(none.status, 502, "there is no file, and so no server");
  assert.equal(none.header("x-server"), "u");
  const path = join(holdfast.prefix, "conf/servers.conf");
  writeFileSync(path, `server ${backend.address} max_fails=3;\n`);
  assert.equal(await holdfast.reload(), true);
  assert.equal((await get(holdfast.port, "/")).body, "ok");
  writeFileSync(path, `server ${backend.address} weight=x;\n`);
  assert.equal(await holdfast.reload(), false);
  await holdfast.waitForLog(new RegExp(`invalid parameter "weight=x" in ${path}:1\n`));
  assert.equal((await get(holdfast.port, "/")).body, "ok");
});

for (const [text, file, sentence] of [
  [
    "zone u 64k; state f; server 127.0.0.1;",
    "",
    /"state" directive is incompatible with "server" in .*nginx\.conf:1$/m,
  ],
  ["state f;", "", /"state" requires upstream "u" in .*nginx\.conf:1 to be in shared memory$/m],
  ["zone u 64k; state f;", "ip_hash;", /"ip_hash" directive is not allowed here in .*conf\/f:1$/m],
  ["zone u 64k; state;", "", /invalid number of arguments in "state" directive in .*nginx\.conf:1$/m],
] as const) {
  test(`refused: upstream u { ${text} } ${file}`, async (t) => {
    const { code, stderr } = await runHoldfast(t, {
      config: `http { upstream u { ${text} } server { } }`,
      files: { "conf/f": file },
      args: ["-t"],
    });
    assert.equal(code, 1);
    assert.match(stderr, sentence);
  });
}
