import assert from "node:assert/strict";
import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type BackendConnection, httpBackend, tcpBackend } from "../support/backend.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { describeSentences } from "../support/sentences.ts";
import { get, RawConnection, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** `…_store`: answers become files. */

const BIG = Buffer.alloc(3_000_000, "what is stored, ");
const DATE = "Sun, 13 Sep 2020 12:26:40 GMT";

function start(t: TestContext, locations: string, http = ""): Promise<Running> {
  return startHoldfast(t, {
    config: ([port]) =>
      `user root; worker_processes 1; http { log_format brief "$uri $status"; access_log logs/access.log brief; ${http}
        server { listen 127.0.0.1:${port}; root stored; ${locations} } }`,
    files: { "stored/directory/file": "" },
  });
}

const temporary = ({ prefix }: Running): string[] => readdirSync(join(prefix, "proxy_temp"));

test("whole answers of status 200 are stored, with their time and …_access", async (t) => {
  const { address } = await httpBackend(t, (incoming, response) => {
    const path = incoming.url ?? "";
    if (path.startsWith("/missing")) response.statusCode = 404;
    if (path.startsWith("/dated")) response.setHeader("Last-Modified", DATE);
    if (path.startsWith("/big")) response.end(BIG);
    else if (path.startsWith("/empty")) response.end();
    else if (path.startsWith("/chunked")) {
      response.write("one ");
      setImmediate(() => response.end("two"));
    } else response.end(`this is ${path}`);
  });
  const holdfast = await start(
    t,
    `location / { proxy_pass http://${address}; proxy_store on; }
     location /a/ { proxy_pass http://${address}/; proxy_store $document_root/b$uri; proxy_store_access user:rw group:r all:r; }
     location /none/ { proxy_pass http://${address}; proxy_store $arg_none; }
     location /direct/ { proxy_pass http://${address}; proxy_store on; proxy_buffering off; }
     location /directory { proxy_pass http://${address}; proxy_store on; }`,
  );
  // A client that knows the length has the response before the file has its name.
  const stored = (path: string, text: string) =>
    waitFor(
      () => holdfast.read(join("stored", path)) === text,
      () => `${path}: ${holdfast.read(join("stored", path))}`,
    );
  assert.equal((await get(holdfast.port, "/file")).body, "this is /file");
  await stored("file", "this is /file");
  assert.equal(statSync(join(holdfast.prefix, "stored/file")).mode & 0o777, 0o600);
  assert.equal((await get(holdfast.port, "/file?again")).body, "this is /file?again");
  await stored("file", "this is /file?again");

  assert.equal((await get(holdfast.port, "/a/x/y/file")).status, 200);
  await stored("b/a/x/y/file", "this is /x/y/file");
  assert.equal(statSync(join(holdfast.prefix, "stored/b/a/x/y/file")).mode & 0o777, 0o644);
  assert.equal(statSync(join(holdfast.prefix, "stored/b/a/x")).mode & 0o777, 0o755);

  await get(holdfast.port, "/dated");
  await stored("dated", "this is /dated");
  assert.equal(statSync(join(holdfast.prefix, "stored/dated")).mtimeMs, 1_600_000_000_000);
  assert.equal((await get(holdfast.port, "/big")).body.length, BIG.length);
  await stored("big", BIG.toString("latin1"));
  assert.equal((await get(holdfast.port, "/chunked")).body, "one two");
  await stored("chunked", "one two");
  await get(holdfast.port, "/empty");
  await waitFor(() => existsSync(join(holdfast.prefix, "stored/empty")), "the empty file");

  for (const path of ["/missing", "/none/x", "/direct/x"]) {
    await get(holdfast.port, path);
    assert.ok(!existsSync(join(holdfast.prefix, "stored", path)), path);
  }
  const head = await request(holdfast.port, "HEAD /head HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  assert.equal(head.status, 200);
  assert.ok(!existsSync(join(holdfast.prefix, "stored/head")));

  assert.equal((await get(holdfast.port, "/directory")).status, 200, "the client gets what could not be stored");
  await holdfast.waitForLog(
    /\[crit\] .*rename\(\) "[^"]+\/proxy_temp\/\d+" to "[^"]+\/directory" failed \(21: Is a dir/,
  );
  await waitFor(() => temporary(holdfast).length === 0, "no temporary file");
});

/** A server that sends half of a body, and what follows when told to. */
async function halves(t: TestContext) {
  const begun: BackendConnection[] = [];
  const { address } = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
    begun.push(connection);
  });
  return { address, begun };
}

test("an answer that breaks off is not stored", async (t) => {
  const { address, begun } = await halves(t);
  const holdfast = await start(t, `location / { proxy_pass http://${address}; proxy_store on; }`);
  const client = await RawConnection.open(holdfast.port);
  client.write("GET /file HTTP/1.1\r\nHost: a\r\n\r\n");
  await waitFor(() => temporary(holdfast).length === 1, "the temporary file");
  begun[0].end();
  await client.readAll();
  await holdfast.waitForLog(/^\/file 200$/m, "logs/access.log");
  assert.deepEqual(temporary(holdfast), []);
  assert.ok(!existsSync(join(holdfast.prefix, "stored/file")));
});

test("an answer whose client has gone is stored all the same", async (t) => {
  const { address, begun } = await halves(t);
  const holdfast = await start(t, `location / { proxy_pass http://${address}; proxy_store on; }`);
  const client = await RawConnection.open(holdfast.port);
  client.write("GET /file HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.until((received) => received.endsWith("half"));
  client.socket.resetAndDestroy();
  await holdfast.waitForLog(/Connection reset by peer/);
  begun[0].write("half");
  await holdfast.waitForLog(/^\/file 200$/m, "logs/access.log");
  assert.equal(holdfast.read("stored/file"), "halfhalf");
  assert.deepEqual(temporary(holdfast), []);
});

test("where nothing can be stored, clients get their responses", async (t) => {
  const { address } = await httpBackend(t, (_, response) => response.end(BIG));
  const holdfast = await start(
    t,
    `location / { proxy_pass http://${address}; proxy_store on; proxy_temp_path proxy_temp 1; }`,
  );
  for (let i = 0; i < 10; i++) writeFileSync(join(holdfast.prefix, `proxy_temp/${i}`), "in the way");
  assert.equal((await get(holdfast.port, "/file")).body.length, BIG.length);
  await holdfast.waitForLog(
    /\[crit\] .*open\(\) "[^"]+\/proxy_temp\/\d\/\d+" failed \(20: Not a directory\) while reading/,
  );
});

describeSentences("store", [
  ["off", "proxy_store off;"],
  ["twice", "proxy_store on; proxy_store on;"],
  ["an unknown variable", "proxy_store $nothing;"],
  ["of FastCGI", "fastcgi_store /x$uri; fastcgi_store_access group:rw;"],
  ["access", "proxy_store_access all:x;"],
]);
