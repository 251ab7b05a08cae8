import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { tcpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { startHoldfast, startNginx } from "../support/holdfast.ts";
import { RawConnection } from "../support/tcp.ts";

/** Every byte in a field's name and value, both ways: whether it is taken, and what comes out on the other side. */

const PLACES: Readonly<Record<string, (byte: string) => string>> = {
  "first in the name": (byte) => `${byte}b: x`,
  "in the name": (byte) => `b${byte}c: x`,
  "last in the name": (byte) => `b${byte}: x`,
  "first in the value": (byte) => `b: ${byte}x`,
  "in the value": (byte) => `b: x${byte}y`,
  "last in the value": (byte) => `b: x${byte}`,
  "after the value": (byte) => `b: x ${byte}`,
  "all of the value": (byte) => `b: ${byte}`,
};

const LINES = Object.values(PLACES).flatMap((line) =>
  Array.from({ length: 256 }, (_, code) => line(String.fromCharCode(code))),
);
const NAMES = Object.keys(PLACES).flatMap((place) => Array.from({ length: 256 }, (_, code) => `byte ${code} ${place}`));

/** What stands between two fields in a text; undefined where they are not there. */
const between = (text: string): string | undefined => /\r\nA: 1\r\n([\s\S]*)Z: 1\r\n/.exec(text)?.[1];

async function exchange(port: number, text: string): Promise<string> {
  const connection = await RawConnection.open(port);
  connection.write(text);
  try {
    return await connection.readAll();
  } finally {
    connection.close();
  }
}

/** Answers `/up/N` with line N among its fields, anything else with the fields that came. */
async function mirror(t: TestContext): Promise<string> {
  const backend = await tcpBackend(t, async (connection) => {
    const head = await connection.readHeader();
    if (head === undefined) return;
    const number = /^GET \/up\/(\d+) /.exec(head)?.[1];
    if (number === undefined) connection.write(`HTTP/1.1 200 OK\r\n\r\n<${between(head)}>`);
    else connection.write(`HTTP/1.1 200 OK\r\nA: 1\r\n${LINES[Number(number)]}\r\nZ: 1\r\n\r\n`);
    connection.end();
  });
  return backend.address;
}

/** Status, and what the other side gets; by line, to the server and from it. */
async function observe(port: number): Promise<string[]> {
  const results: string[] = [];
  const one = async (i: number): Promise<void> => {
    const asked = await exchange(port, `GET /down HTTP/1.1\r\nHost: a\r\nA: 1\r\n${LINES[i]}\r\nZ: 1\r\n\r\n`);
    const shown = `${asked.slice(9, 12)} ${JSON.stringify(/<([\s\S]*)>/.exec(asked.replace(/<html[\s\S]*/, ""))?.[1])}`;
    const got = await exchange(port, `GET /up/${i} HTTP/1.1\r\nHost: a\r\n\r\n`);
    results[i] = `to the server ${shown}, from it ${got.slice(9, 12)} ${JSON.stringify(between(got))}`;
  };
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < LINES.length) await one(next++);
  };
  await Promise.all(Array.from({ length: 16 }, work));
  return results;
}

const config =
  (address: string) =>
  ([port]: readonly number[]): string =>
    `http { access_log off; error_log logs/error.log crit; keepalive_timeout 0;
    lingering_close off; ignore_invalid_headers off;
    server { listen 127.0.0.1:${port}; location / { proxy_pass http://${address}; } } }`;

test("a field with any byte but NUL, CR and LF in its value is passed on, both ways", async (t) => {
  const { port } = await startHoldfast(t, { config: config(await mirror(t)) });
  for (const value of ["\x01", "\x1f\x7f", "a\x01b", "\t", "\xff", "TkE\x01x"]) {
    const asked = await exchange(port, `GET /down HTTP/1.1\r\nHost: a\r\nA: 1\r\nCookie: ${value}\r\nZ: 1\r\n\r\n`);
    assert.match(asked, /^HTTP\/1\.1 200 /, JSON.stringify(value));
    assert.equal(/<([\s\S]*)>/.exec(asked)?.[1], `Cookie: ${value}\r\n`);
  }
  for (const value of ["a\0b", "a\rb", "\0"]) {
    const asked = await exchange(port, `GET /down HTTP/1.1\r\nHost: a\r\nA: 1\r\nCookie: ${value}\r\nZ: 1\r\n\r\n`);
    assert.match(asked, /^HTTP\/1\.1 400 /, JSON.stringify(value));
  }
});

test("every byte is taken or refused as by nginx", { skip: have("nginx") }, async (t) => {
  const address = await mirror(t);
  const [holdfast, nginx] = await Promise.all([
    startHoldfast(t, { config: config(address) }),
    startNginx(t, { config: config(address) }),
  ]);
  const ours = await observe(holdfast.port);
  const theirs = await observe(nginx.port);
  const differing = NAMES.flatMap((name, i) =>
    ours[i] === theirs[i] ? [] : [`${name}: ours ${ours[i]}; nginx's ${theirs[i]}`],
  );
  assert.deepEqual(differing, []);
});
