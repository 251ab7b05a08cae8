import assert from "node:assert/strict";
import { test } from "node:test";
import { have } from "../../../support/have.ts";
import { type Running, runHoldfast, startHoldfast, startNginx } from "../../../support/holdfast.ts";
import { get, RawConnection } from "../../../support/tcp.ts";

const SHOWN =
  "$remote_addr|$remote_port|$realip_remote_addr|$proxy_add_x_forwarded_for|$http_x_forwarded_for|$binary_remote_addr";

const config = (ports: readonly number[]): string => `http {
  log_format client '$remote_addr $realip_remote_addr';
  access_log logs/access.log client;
  set_real_ip_from 127.0.0.1;
  server {
    listen 127.0.0.1:${ports[0]};
    root files;
    location / { return 200 '${SHOWN}'; }
    location /none { set_real_ip_from 192.0.2.0/24; error_page 404 = @shown; }
    location /late { real_ip_header X-Forwarded-For; real_ip_recursive on; set_real_ip_from 127.0.0.1;
      set_real_ip_from 10.0.0.0/8; error_page 404 = @shown; }
    location /other { real_ip_header x-any; error_page 404 = @shown; }
    location /cased { real_ip_header x-forwarded-for; error_page 404 = @shown; }
    location /access { allow 192.0.2.1; deny all; error_page 404 = @shown; }
    location @shown { return 200 '${SHOWN}'; }
  }
  server {
    listen 127.0.0.1:${ports[1]};
    real_ip_header X-Forwarded-For;
    location / { return 200 '${SHOWN}'; }
    location /late { real_ip_header X-Real-IP; error_page 404 = @shown; }
    location @shown { return 200 '${SHOWN}'; }
  }
}`;

/** Which server, path and fields. */
const REQUESTS: readonly (readonly [number, string, ...string[]])[] = [
  [0, "/", "X-Real-IP: 192.0.2.1"],
  [0, "/", "X-Real-IP: 192.0.2.1:99"],
  [0, "/", "X-Real-IP: [2001:DB8:0::1]:99"],
  [0, "/", "X-Real-IP: 192.0.2.7, 192.0.2.8"],
  [0, "/", "X-Real-IP: 192.0.2.7", "X-Real-IP: 192.0.2.8"],
  [0, "/", "X-Real-IP: nobody"],
  [0, "/", "X-Forwarded-For: 192.0.2.1"],
  [0, "/none", "X-Real-IP: 192.0.2.1"],
  [0, "/late", "X-Forwarded-For: 192.0.2.1, 10.1.1.1"],
  [0, "/late", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 10.1.1.1,10.2.2.2"],
  [0, "/late", "X-Real-IP: 192.0.2.9", "X-Forwarded-For: 192.0.2.1, 10.1.1.1"],
  [0, "/other", "X-Any: 192.0.2.3", "X-Any: 192.0.2.4"],
  [0, "/cased", "X-Forwarded-For: 192.0.2.3", "X-Forwarded-For: 192.0.2.4"],
  [0, "/access", "X-Real-IP: 192.0.2.1"],
  [0, "/access", "X-Real-IP: 192.0.2.2"],
  [1, "/", "X-Forwarded-For: 192.0.2.1, 192.0.2.2"],
  [1, "/late", "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.9"],
  [1, "/late", "X-Real-IP: 192.0.2.9"],
];

async function answers(server: Running): Promise<readonly string[]> {
  const found: string[] = [];
  for (const [listener, path, ...fields] of REQUESTS) {
    const { status, body } = await get(server.ports[listener], path, ...fields);
    found.push(`${path} ${fields.join("; ")}: ${status} ${status === 200 ? body.replace(/\|\d{4,}\|/, "|PORT|") : ""}`);
  }
  return found;
}

test("the client behind a proxy is whom nginx takes for it", { skip: have("nginx") }, async (t) => {
  const ours = await startHoldfast(t, { config });
  const theirs = await startNginx(t, { config });
  assert.deepEqual(await answers(ours), await answers(theirs));
  await ours.stop();
  await theirs.stop();
  assert.equal(ours.accessLog(), theirs.accessLog());
});

test("the address holds for one request of a connection, and is the one in the error log", async (t) => {
  const server = await startHoldfast(t, { config });
  const connection = await RawConnection.open(server.port);
  t.after(() => connection.close());
  connection.write("GET /access HTTP/1.1\r\nHost: x\r\nX-Real-IP: 203.0.113.5\r\n\r\n");
  assert.equal((await connection.readResponse()).status, 403);
  connection.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  assert.match((await connection.readResponse()).body, /^127\.0\.0\.1\|/);
  await server.waitForLog(/access forbidden by rule, client: 203\.0\.113\.5, server: /);
});

test("ip_hash goes by the address that was found", async (t) => {
  const server = await startHoldfast(t, {
    config: ([front, one, two]) => `http {
      upstream hashed { ip_hash; server 127.0.0.1:${one}; server 127.0.0.1:${two}; }
      server { listen 127.0.0.1:${one}; return 200 one; }
      server { listen 127.0.0.1:${two}; return 200 two; }
      server { listen 127.0.0.1:${front}; set_real_ip_from 127.0.0.0/8; location / { proxy_pass http://hashed; } }
    }`,
  });
  const seen = new Map<string, Set<string>>();
  for (let round = 0; round < 2; round++) {
    for (let net = 0; net < 20; net++) {
      const { body } = await get(server.port, "/", `X-Real-IP: 192.0.${net}.${round + 1}`);
      const of = seen.get(String(net)) ?? new Set();
      seen.set(String(net), of.add(body));
    }
  }
  assert.deepEqual(
    [...seen.values()].map(({ size }) => size),
    new Array(20).fill(1),
  );
  assert.equal(new Set([...seen.values()].flatMap((of) => [...of])).size, 2);
});

test("names are looked up when the configuration is loaded", async (t) => {
  const named = await startHoldfast(t, {
    config: ([port]) =>
      `http { server { listen 127.0.0.1:${port}; location / { set_real_ip_from localhost; error_page 404 = @a; }
        location @a { return 200 $remote_addr; } } }`,
  });
  assert.equal((await get(named.port, "/", "X-Real-IP: 192.0.2.1")).body, "192.0.2.1");
  const unknown = await runHoldfast(t, {
    config: "http { set_real_ip_from no.such.invalid; server { listen 127.0.0.1:1; } }",
    args: ["-t"],
  });
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /host not found in set_real_ip_from "no\.such\.invalid" in .*nginx\.conf:1/);
});
