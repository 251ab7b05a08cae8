import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection, request } from "../support/tcp.ts";

const basic = (user: string, password: string): string =>
  `Authorization: Basic ${Buffer.from(`${user}:${password}`, "latin1").toString("base64")}`;

const FILES = {
  "conf/users": "ann:{PLAIN}secret\nbob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n",
  "html/index.html": "in",
};

test("clients by address and by password, all or any", async (t) => {
  const holdfast = await startHoldfast(t, {
    files: FILES,
    config: ([port]) => `http { access_log off; auth_basic_user_file users;
      server { listen 127.0.0.1:${port}; root html;
        location /allow/ { alias html/; allow 127.0.0.0/8; deny all; }
        location /deny/ { alias html/; deny 127.0.0.1; allow all; }
        location /outer/ { deny all; alias html/; location /outer/inner/ { alias html/; } location /outer/own/ { allow all; alias html/; } }
        location /user/ { alias html/; auth_basic "The realm"; location /user/off/ { auth_basic off; alias html/; } }
        location /all/ { alias html/; auth_basic all; deny all; }
        location /any/ { alias html/; satisfy any; auth_basic any; deny all; }
        location /nofile/ { alias html/; auth_basic x; auth_basic_user_file missing; }
        location /except/ { alias html/; limit_except GET POST { auth_basic except; } }
        location /slow/ { alias html/; auth_basic slow; auth_delay 300ms; }
      } }`,
  });
  const { port } = holdfast;
  const status = async (path: string, ...headers: string[]) => (await get(port, path, ...headers)).status;
  assert.equal(await status("/allow/"), 200);
  assert.equal(await status("/deny/"), 403);
  await holdfast.waitForLog(/access forbidden by rule, client: 127\.0\.0\.1/);
  assert.equal(await status("/outer/inner/"), 403, "inherited");
  assert.equal(await status("/outer/own/"), 200, "replaced");

  const refused = await get(port, "/user/");
  assert.deepEqual([refused.status, refused.header("www-authenticate")], [401, 'Basic realm="The realm"']);
  for (const user of ["ann", "bob"]) {
    assert.equal(await status("/user/", basic(user, "secret")), 200, user);
    assert.equal(await status("/user/", basic(user, "wrong")), 401, user);
  }
  await holdfast.waitForLog(/user "ann": password mismatch/);
  assert.equal(await status("/user/", basic("eve", "secret")), 401);
  await holdfast.waitForLog(/user "eve" was not found in "[^"]+\/conf\/users"/);
  assert.equal(await status("/user/", "Authorization: Basic !!!"), 401);
  assert.equal(await status("/user/off/"), 200);
  assert.equal(await status("/nofile/", basic("ann", "secret")), 403);

  assert.equal(await status("/all/", basic("ann", "secret")), 403);
  assert.equal(await status("/any/"), 401, "a password may still help");
  const admitted = await get(port, "/any/", basic("ann", "secret"));
  assert.deepEqual([admitted.status, admitted.header("www-authenticate")], [200, undefined]);

  assert.equal(await status("/except/"), 200);
  assert.equal((await request(port, "HEAD /except/ HTTP/1.1\r\nHost: x\r\n\r\n")).status, 200);
  const put = "PUT /except/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n";
  assert.equal((await request(port, `${put}\r\n`)).status, 401);
  assert.equal(
    (await request(port, `${put}${basic("ann", "secret")}\r\n\r\n`)).status,
    405,
    "let in, and told by the static module",
  );

  const before = performance.now();
  assert.equal(await status("/slow/"), 401);
  assert.ok(performance.now() - before >= 290, "delayed");
});

test("stub_status counts connections and requests", async (t) => {
  const { port } = await startHoldfast(t, {
    config: ([first]) => `http { access_log off; server { listen 127.0.0.1:${first};
      location /stub { stub_status; }
      location /variables { return 200 "$connections_active $connections_reading $connections_writing $connections_waiting"; } } }`,
  });
  const page = await get(port, "/stub");
  assert.equal(page.header("content-type"), "text/plain");
  assert.equal(
    page.body,
    "Active connections: 1 \nserver accepts handled requests\n 1 1 1 \nReading: 0 Writing: 1 Waiting: 0 \n",
  );
  assert.match((await get(port, "/stub")).body, /\n 2 2 2 \n/);
  assert.match((await get(port, "/variables")).body, /^[12] 0 1 0$/);
  assert.equal((await request(port, "POST /stub HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")).status, 405);
});

/** A hash that takes a year to compare. */
const ENDLESS = "$6$rounds=999999999$pepper$x";

test("a password that takes long to compare holds up nobody else", async (t) => {
  const { stdout } = spawnSync("openssl", ["passwd", "-6", "-salt", "pepper", "secret"]);
  const holdfast = await startHoldfast(t, {
    files: {
      "html/index.html": "in",
      "conf/users": `ann:${stdout.toString("latin1").trim()}\nslow:${ENDLESS}\n`,
    },
    config: ([port]) => `http { access_log off; server { listen 127.0.0.1:${port}; root html;
      location /open/ { alias html/; }
      location /in/ { alias html/; auth_basic r; auth_basic_user_file users; } } }`,
  });
  const { port } = holdfast;
  const status = async (user: string, password: string) => (await get(port, "/in/", basic(user, password))).status;
  assert.equal(await status("ann", "secret"), 200);
  assert.equal(await status("ann", "wrong"), 401);
  await holdfast.waitForLog(/user "ann": password mismatch/);
  assert.equal(await status("ann", "x".repeat(5500)), 401, "crypt() takes no password of more than 511 bytes");

  const waits = await RawConnection.open(port);
  waits.write(`GET /in/ HTTP/1.1\r\nHost: x\r\n${basic("slow", "secret")}\r\n\r\n`);
  assert.equal((await get(port, "/open/")).status, 200);
  assert.equal(await status("ann", "secret"), 200, "known already");
  waits.socket.destroy();
  await holdfast.waitForLog(/client prematurely closed connection.*request: "GET \/in\//);
  assert.equal(await holdfast.stop(), 0);
});
