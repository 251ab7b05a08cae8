import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import type { Backend } from "../support/backend.ts";
import { fastcgiBackend, OVER, out } from "../support/fastcgi.ts";
import { packetBackend } from "../support/gateways.ts";
import { have } from "../support/have.ts";
import { startHoldfast, startNginx } from "../support/holdfast.ts";
import { request } from "../support/tcp.ts";

/** The files in conf/, beside those that nginx has in /etc/nginx. */

function ours(name: string): string {
  return readFileSync(new URL(`../../conf/${name}`, import.meta.url), "utf8");
}

const ANSWER = "Content-Type: text/plain\r\n\r\nok";

/** An application that keeps the last request's parameters. */
function recorder(
  t: TestContext,
  protocol: string,
  keep: (params: ReadonlyMap<string, string>) => void,
): Promise<Backend> {
  if (protocol === "fastcgi") {
    return fastcgiBackend(t, ({ params }, connection) => {
      keep(params);
      connection.socket.end(Buffer.from(out(ANSWER) + OVER, "latin1"));
    });
  }
  return packetBackend(t, protocol === "uwsgi" ? "uwsgi" : "scgi", ({ params }, connection) => {
    keep(params);
    connection.socket.end(ANSWER);
  });
}

/** Those that are the same for both: not the ports, nor what of the host is passed on by which version of nginx. */
function comparable(params: ReadonlyMap<string, string>): Record<string, string> {
  const { HTTP_HOST, SERVER_PORT, REMOTE_PORT, SERVER_SOFTWARE, ...same } = Object.fromEntries(params);
  assert.match(`${SERVER_PORT} ${REMOTE_PORT}`, /^\d+ \d+$/);
  assert.match(SERVER_SOFTWARE ?? "nginx/1.31.5", /^nginx\/[\d.]+$/);
  assert.ok(HTTP_HOST.startsWith("example.org"));
  return same;
}

for (const file of ["fastcgi_params", "fastcgi.conf", "uwsgi_params", "scgi_params"]) {
  test(`${file}: a request has the parameters that it has with nginx's`, { skip: have("nginx") }, async (t) => {
    const [protocol] = /^[a-z]+/.exec(file) ?? [""];
    let last: ReadonlyMap<string, string> = new Map();
    const { address } = await recorder(t, protocol, (params) => {
      last = params;
    });
    const config =
      (from: string) =>
      ([port]: readonly number[]) =>
        `http { server { listen 127.0.0.1:${port}; server_name example.org; root /srv;
        location / { include ${from}; ${protocol}_pass ${address}; } } }`;
    const holdfast = await startHoldfast(t, { config: config(file), files: { [`conf/${file}`]: ours(file) } });
    const nginx = await startNginx(t, { config: config(`/etc/nginx/${file}`) });
    for (const [line, body] of [
      ["GET /a%20b/c.php?d=e", ""],
      ["POST /", "Content-Length: 3\r\nContent-Type: x/y\r\nAuthorization: Basic YTpi\r\n\r\nabc"],
    ]) {
      const raw = `${line} HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n${body === "" ? "\r\n" : body}`;
      const sent = [];
      for (const { port } of [nginx, holdfast]) {
        assert.equal((await request(port, raw)).body, "ok");
        sent.push(comparable(last));
      }
      assert.deepEqual(sent[1], sent[0], line);
    }
  });
}

/** `byte characters;` pairs. */
function pairs(text: string): Map<string, string> {
  return new Map([...text.matchAll(/^\s*([0-9A-F]{2})\s+([0-9A-F]+)\s*;/gm)].map(([, from, to]) => [from, to]));
}

/** The letter Ў, for which nginx has ю. */
const CORRECTED: Readonly<Record<string, string>> = { "koi-utf": "BE", "win-utf": "A1" };

for (const file of ["koi-utf", "koi-win", "win-utf"]) {
  test(`${file}: has all that nginx's has, and one letter right`, { skip: have("nginx") }, () => {
    const mine = pairs(ours(file));
    for (const [from, to] of pairs(readFileSync(`/etc/nginx/${file}`, "latin1"))) {
      assert.equal(mine.get(from), from === CORRECTED[file] ? "D08E" : to, from);
    }
  });
}

test("koi-utf: a page in KOI8-R is served in UTF-8", async (t) => {
  const { port } = await startHoldfast(t, {
    config: ([port]) => `http { include koi-utf; server { listen 127.0.0.1:${port};
      location / { charset utf-8; source_charset koi8-r; default_type text/html; root www; } } }`,
    files: { "conf/koi-utf": ours("koi-utf"), "www/a": Buffer.from("cff6c9db", "hex") },
  });
  const { body } = await request(port, "GET /a HTTP/1.0\r\n\r\n");
  assert.equal(Buffer.from(body, "latin1").toString(), "оЖиш");
});
