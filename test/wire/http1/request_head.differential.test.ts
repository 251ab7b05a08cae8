import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DONE, RequestHead } from "../../../src/wire/http1/request_head.ts";
import { splitTarget, uriParts } from "../../../src/wire/uri.ts";
import { TARGETS } from "../targets.ts";
import { LIMITS } from "./limits.ts";
import { NASTY } from "./nasty_requests.ts";

/** Our verdicts beside those of the nginx installed here, where there is one. */
const NGINX = "/usr/sbin/nginx";
const there = spawnSync(NGINX, ["-v"]).error === undefined;
const skip = there ? false : "nginx is not installed";

let port = 0;
let stop: () => Promise<void> = async () => {};

before(async () => {
  if (!there) return;
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  port = (probe.address() as AddressInfo).port;
  probe.close();
  await once(probe, "close");
  const prefix = mkdtempSync(join(tmpdir(), "holdfast-h1-"));
  writeFileSync(
    join(prefix, "nginx.conf"),
    `daemon off; master_process off; pid ${prefix}/pid; error_log ${prefix}/error.log;
     events {} http { access_log off; client_body_temp_path ${prefix}/b; proxy_temp_path ${prefix}/p;
     fastcgi_temp_path ${prefix}/f; uwsgi_temp_path ${prefix}/u; scgi_temp_path ${prefix}/s; default_type text/plain;
     server { listen 127.0.0.1:${port}; location / { return 200 "$uri|$args|$request_uri"; } } }`,
  );
  const nginx = spawn(NGINX, ["-p", prefix, "-c", "nginx.conf", "-e", join(prefix, "error.log")], { stdio: "ignore" });
  stop = async () => {
    nginx.kill("SIGKILL");
    await once(nginx, "exit");
    rmSync(prefix, { recursive: true });
  };
  for (let tries = 0; tries < 200; tries++) {
    const socket = connect(port, "127.0.0.1");
    const ready = await Promise.race([once(socket, "connect"), once(socket, "error")]).catch(() => [true]);
    socket.destroy();
    if (ready.length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
});

after(() => stop());

/** Sends the bytes and half-closes; all that comes back. */
async function ask(raw: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.on("error", () => {});
  // The half-close may not overtake the answer: nginx drops a request whose client is gone.
  socket.end(raw, "latin1");
  await once(socket, "close");
  return Buffer.concat(chunks).toString("latin1");
}

test("the status of a table of nasty requests", { skip }, async () => {
  const different: string[] = [];
  for (const { raw, status, old } of NASTY) {
    if (status === 0) continue;
    const answer = await ask(raw);
    // An HTTP/0.9 answer has no status line; an error page names its own.
    const theirs = Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? /<title>(\d+)/.exec(answer)?.[1] ?? 200);
    // An escape that cannot be decoded is the path's matter, not the head's.
    const expected = old ?? status;
    const ours = expected === 1 ? (raw.includes("%zz") ? 400 : 200) : expected;
    if (theirs !== ours) different.push(`${JSON.stringify(raw)}: nginx ${theirs}, we ${ours}`);
  }
  assert.deepEqual(different, []);
});

test("path and arguments of a table of targets", { skip }, async () => {
  const head = new RequestHead(LIMITS);
  const parts = uriParts();
  for (const target of TARGETS) {
    const raw = `GET ${target} HTTP/1.0\r\n\r\n`;
    const answer = await ask(raw);
    const theirs = answer.startsWith("HTTP/1.1 200") ? answer.slice(answer.indexOf("\r\n\r\n") + 4) : "refused";
    head.reset(LIMITS);
    const bytes = Buffer.from(raw, "latin1");
    const fine =
      head.feed(bytes, 0, bytes.length) === DONE &&
      splitTarget(head.rawUri, head.complex, head.argsAt, head.extAt, head.plus, true, parts);
    assert.equal(fine ? `${parts.path}|${parts.args}|${head.rawUri}` : "refused", theirs, target);
  }
});
