import assert from "node:assert/strict";
import { test } from "node:test";
import { have } from "../../../support/have.ts";
import { startHoldfast, startNginx } from "../../../support/holdfast.ts";
import { generator } from "../../../support/reference_nginx.ts";
import { get } from "../../../support/tcp.ts";

const COMMON = `
  access_log off;
  geo $arg_ip $networks {
    0.0.0.0/1 low; 10.0.0.0/8 ten; 10.1.0.0/16 ten-one; 10.1.2.0/24 ten-one-two; 10.1.2.3 host; 10.1.2.128/25 half;
    192.168.0.0/16 local; 192.168.7.0/24 ""; delete 10.1.0.0/16; 255.255.255.255 none;
    2001:db8::/32 test; 2001:db8:1::/48 test-one; 2001:db8:1:2::/64 deep; 2001:db8::1 host6; ::/3 sixes;
    ::ffff:10.9.0.0/112 mapped; fe80::/10 link; delete 2001:db8:1::/48; include conf/geo/networks;
  }
  geo $arg_ip $with_default { default other; include conf/geo/networks; 128.0.0.0/1 high; }
  geo $arg_ip $ranges {
    ranges;
    10.0.0.0-10.255.255.255 ten; 10.1.0.0-10.3.0.255 middle; 10.1.2.0-10.1.2.255 small; 10.1.2.255-10.1.2.255 edge;
    192.168.0.0-192.168.0.9 a; 192.168.0.10-192.168.0.19 b; 192.168.0.5-192.168.0.9 c;
    delete 10.2.0.0-10.2.255.255; 250.0.0.0-255.255.255.254 end; default other;
  }
  geo $arg_ip $ranges_alone { ranges; 10.1.2.0-10.1.2.255 small; }
  geo $arg_ip $nothing { }
`;
const SHOWN = "$networks|$with_default|$ranges|$ranges_alone|$nothing";

const FILES = { "conf/geo/networks": "10.20.0.0/14 included;\n10.21.0.0/16 within;\n2001:db8:ff00::/40 included6;\n" };

function addresses(): string[] {
  const found = [
    "",
    "0.0.0.0",
    "255.255.255.255",
    "255.255.255.254",
    "::",
    "::1",
    "unix:",
    "nobody",
    "10.1.2",
    "10.1.2.",
  ];
  found.push(
    "10.1.2.3:80",
    "[2001:db8::1]",
    "2001:db8::1",
    "::ffff:10.9.1.1",
    "::ffff:10.1.2.3",
    "::10.1.2.3",
    "fe80::1",
  );
  const random = generator(7);
  const one = <T>(some: readonly T[]): T => some[random(some.length)];
  for (let i = 0; i < 150; i++) {
    const [first, second] = one([
      [10, 1],
      [10, 2],
      [10, 3],
      [10, 20 + random(5)],
      [192, 168],
      [random(256), random(256)],
    ]);
    found.push(`${first}.${second}.${one([0, 2, 7, random(256)])}.${one([0, 3, 9, 10, 127, 128, 255, random(256)])}`);
  }
  const word = (): string => one(["0", "1", "2", "ff", "ff00", "ffff", "db8", random(65536).toString(16)]);
  for (let i = 0; i < 100; i++) {
    found.push(
      `${one(["2001:db8", "fe80:0", "1fff:ffff", "2000:0", `${word()}:${word()}`])}:${word()}:${word()}::${word()}`,
    );
  }
  return found;
}

test("an address has the value that nginx gives it", { skip: have("nginx") }, async (t) => {
  const config = ([port]: readonly number[]): string =>
    `http {${COMMON.replaceAll("conf/geo", "geo")} server { listen 127.0.0.1:${port}; return 200 '${SHOWN}'; } }`;
  const ours = await startHoldfast(t, { config, files: FILES });
  const theirs = await startNginx(t, { config, files: FILES });
  for (const address of addresses()) {
    const [found, expected] = await Promise.all(
      [ours, theirs].map(async ({ port }) => (await get(port, `/?ip=${address}`)).body),
    );
    assert.equal(found, expected, address);
  }
});

const PROXIES = ([port, six]: readonly number[]): string => `http {
  access_log off;
  set_real_ip_from 127.0.0.1;
  geo $own { 127.0.0.0/8 loopback; ::1 loopback6; 192.0.2.0/24 test; 2001:db8::/32 test6; 255.255.255.255 none; default other; }
  geo $ranged { ranges; 127.0.0.0-127.255.255.255 loopback; 192.0.2.0-192.0.2.255 test; default other; }
  geo $proxied { proxy 127.0.0.1; proxy ::1; 127.0.0.0/8 loopback; 192.0.2.0/24 test; 2001:db8::/32 test6; default other; }
  geo $recursive { proxy_recursive; proxy 127.0.0.0/8; proxy 10.0.0.0/8; proxy 2001:db8::/32;
    127.0.0.0/8 loopback; 10.0.0.0/8 inner; 192.0.2.0/24 test; default other; }
  geo $untrusted { proxy 10.0.0.0/8; 127.0.0.0/8 loopback; 192.0.2.0/24 test; default other; }
  geo $arg_ip $argument { proxy 10.0.0.0/8; 10.0.0.0/8 inner; 192.0.2.0/24 test; 255.255.255.255 none; default other; }
  geo $redefined { default first; }
  geo $redefined { default second; }
  geo $set { default geo; }
  geo $cycle_a $cycle_b { default b; }
  geo $cycle_b $cycle_a { default a; }
  server {
    listen 127.0.0.1:${port};
    listen [::1]:${six};
    listen unix:/tmp/holdfast-geo-${port};
    location / { return 200 '$own|$ranged|$proxied|$recursive|$untrusted|$argument|$redefined|$CYCLE_A'; }
    location /set { set $set changed; return 200 $set; }
    location /unix { proxy_pass http://unix:/tmp/holdfast-geo-${port}:/; proxy_set_header X-Forwarded-For 192.0.2.1; }
    location /six { proxy_pass http://[::1]:${six}/; proxy_set_header X-Forwarded-For $http_x_forwarded_for; }
  }
}`;

/** The path, and the fields. */
const REQUESTS: readonly (readonly [string, ...string[]])[] = [
  ["/"],
  ["/set"],
  ["/unix"],
  ["/six"],
  ["/six", "X-Forwarded-For: 192.0.2.1"],
  ["/", "X-Real-IP: 192.0.2.1"],
  ["/", "X-Real-IP: 2001:db8::7"],
  ["/", "X-Real-IP: 255.255.255.255"],
  ["/", "X-Forwarded-For: 192.0.2.1"],
  ["/", "X-Forwarded-For: 2001:db8::7"],
  ["/", "X-Forwarded-For: ::ffff:192.0.2.1"],
  ["/", "X-Forwarded-For: nobody"],
  ["/", "X-Forwarded-For: "],
  ["/", "X-Forwarded-For: 192.0.2.1, 10.0.0.1, 127.0.0.1"],
  ["/", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 10.0.0.1"],
  ["/", "X-Forwarded-For: 192.0.2.1, nobody, 10.0.0.1"],
  ["/", "X-Real-IP: 10.0.0.9", "X-Forwarded-For: 192.0.2.1"],
  ["/?ip=10.0.0.1", "X-Forwarded-For: 192.0.2.1"],
  ["/?ip=192.0.2.9", "X-Forwarded-For: 10.0.0.1"],
  ["/?ip=nobody", "X-Forwarded-For: 192.0.2.1"],
];

test("the client, or whom a trusted proxy says it is, is the one that nginx takes", {
  skip: have("nginx"),
}, async (t) => {
  const ours = await startHoldfast(t, { config: PROXIES });
  const theirs = await startNginx(t, { config: PROXIES });
  for (const [path, ...fields] of REQUESTS) {
    const [found, expected] = await Promise.all(
      [ours, theirs].map(async ({ port }) => (await get(port, path, ...fields)).body),
    );
    assert.equal(found, expected, `${path} ${fields.join("; ")}`);
  }
  await ours.waitForLog(/\[error\] .*cycle while evaluating variable "cycle_/);
});

test("a volatile variable is looked up at each use", async (t) => {
  const { port } = await startHoldfast(t, {
    config: ([port]) => `http {
      geo $arg_ip $kept { default other; 10.0.0.0/8 ten; }
      geo $arg_ip $fresh { volatile; default other; 10.0.0.0/8 ten; }
      server { listen 127.0.0.1:${port};
        location / { set $before "$kept $fresh"; set $args ip=10.0.0.1; return 200 "$before, $kept $fresh"; } } }`,
  });
  assert.equal((await get(port, "/?ip=192.0.2.1")).body, "other other, other ten");
});
