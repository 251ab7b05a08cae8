import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Backend } from "../support/backend.ts";
import { type PacketProtocol, packetBackend } from "../support/gateways.ts";
import { have } from "../support/have.ts";
import { startHoldfast, startNginx } from "../support/holdfast.ts";
import { get, send } from "../support/tcp.ts";

/** What uwsgi and SCGI applications are sent, compared with what a real nginx sends them. */

const FIELDS = "X-one: 1\r\nCookie: a=b\r\nAccept: x\r\nX-Replaced: client's\r\nX-Dropped: x\r\n";
const LARGE = "x".repeat(300_000);
const CHUNKED = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";

/** Requests but for what all of them have; `LOCATION` is one of those below. */
const REQUESTS: readonly string[] = [
  `GET /LOCATION/a%20b?c=d HTTP/1.1\r\n${FIELDS}\r\n`,
  "GET /LOCATION HTTP/1.1\r\nX-Empty:\r\nIf-Modified-Since: x\r\nRange: bytes=0-1\r\nUpgrade: h2c\r\nTE: trailers\r\n\r\n",
  "HEAD /LOCATION HTTP/1.1\r\n\r\n",
  "POST /LOCATION HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nabcde",
  "POST /LOCATION HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
  `POST /LOCATION HTTP/1.1\r\n${CHUNKED}`,
  `PUT /LOCATION HTTP/1.1\r\nContent-Length: ${LARGE.length}\r\n\r\n${LARGE}`,
  `GET /LOCATION HTTP/1.1\r\nX-Long: ${"y".repeat(2000)}\r\n\r\n`,
];

const LOCATIONS: Readonly<Record<string, string>> = {
  plain: "GW_param CONTENT_LENGTH $content_length if_not_empty;",
  params: `GW_param EMPTY ""; GW_param EMPTY_TOO "" if_not_empty; GW_param NONE $arg_none; GW_param NONE_TOO $arg_none if_not_empty;
    GW_param SAID "a $arg_c b"; GW_param HTTP_X_REPLACED "the configuration's"; GW_param HTTP_X_DROPPED ""; GW_param http_x_one x;
    GW_param HTTP_COOKIE $http_cookie if_not_empty; GW_param HTTP_ "short"; GW_param CONTENT_LENGTH $content_length;`,
  inherited:
    "GW_param CONTENT_LENGTH $content_length; GW_param A b; if ($arg_c) { set $a 1; } limit_except GET { allow all; }",
  bare: "GW_pass_request_headers off; GW_param CONTENT_LENGTH $content_length;",
};

const uwsgiLocations: Readonly<Record<string, string>> = {
  ...LOCATIONS,
  unbuffered: "GW_request_buffering off; GW_param CONTENT_LENGTH $content_length;",
  bodiless: 'GW_pass_request_body off; GW_param CONTENT_LENGTH "";',
  modified: "uwsgi_modifier1 255; uwsgi_modifier2 3; uwsgi_string abc; uwsgi_param CONTENT_LENGTH $content_length;",
};

const config =
  (protocol: PacketProtocol, backend: Backend, locations: Readonly<Record<string, string>>) =>
  ([port]: readonly number[]) =>
    `http { client_max_body_size 0; large_client_header_buffers 20 16k;
  server { listen 127.0.0.1:${port};
    ${Object.entries(locations)
      .map(
        ([name, options]) =>
          `location /${name} { GW_pass ${backend.address}; GW_param HTTP_HOST $http_host; ${options} }`,
      )
      .map((block) => block.replaceAll("GW_", `${protocol}_`))
      .join("\n")} } }`;

/** An application that keeps the bytes of the last request. */
async function recorder(t: TestContext, protocol: PacketProtocol) {
  let last = "";
  const backend = await packetBackend(t, protocol, ({ packet, body }, connection) => {
    last = packet + body;
    connection.socket.end("Content-Type: text/plain\r\n\r\nok");
  });
  return { backend, take: () => last };
}

for (const [protocol, locations] of [
  ["uwsgi", uwsgiLocations],
  ["scgi", LOCATIONS],
] as const) {
  test(`${protocol}: requests are, byte by byte, nginx's`, { skip: have("nginx") }, async (t) => {
    const { backend, take } = await recorder(t, protocol);
    const holdfast = await startHoldfast(t, { config: config(protocol, backend, locations) });
    const nginx = await startNginx(t, { config: config(protocol, backend, locations) });
    for (const location of Object.keys(locations)) {
      for (const text of REQUESTS) {
        const [line, ...rest] = text.replace("LOCATION", location).split("\r\n");
        const raw = [line, "Host: A.example", "Connection: close", ...rest].join("\r\n");
        const packets: string[] = [];
        for (const { port } of [nginx, holdfast]) {
          assert.match(await send(port, raw), /^HTTP\/1.1 200 /, `${location}: ${line}`);
          packets.push(take());
        }
        assert.equal(packets[1], packets[0], `${location}: ${raw.slice(0, 200)}`);
      }
    }
  });
}

test("scgi: CONTENT_LENGTH is that of the body that is sent", async (t) => {
  const { backend, take } = await recorder(t, "scgi");
  const { port } = await startHoldfast(t, {
    config: config("scgi", backend, { "": "GW_pass_request_body off;", unbuffered: "GW_request_buffering off;" }),
  });
  assert.match(await send(port, "POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc"), /^HTTP\/1.1 200 /);
  assert.match(take(), /^\d+:CONTENT_LENGTH\x000\x00/);
  const large = `POST /unbuffered HTTP/1.0\r\nContent-Length: ${LARGE.length}\r\n\r\n${LARGE}`;
  assert.match(await send(port, large), /^HTTP\/1.1 200 /);
  assert.match(take(), /^\d+:CONTENT_LENGTH\x00300000\x00.*,x{300000}$/);
});

test("uwsgi: a repeated field is one parameter", async (t) => {
  const { backend, take } = await recorder(t, "uwsgi");
  const { port } = await startHoldfast(t, { config: config("uwsgi", backend, { "": "" }) });
  await get(port, "/", "X-One: 1", "Cookie: a=b", "x-one: 2", "Cookie: c=d");
  assert.match(take(), /HTTP_X_ONE\x04\x001, 2\x0B\x00HTTP_COOKIE\x08\x00a=b; c=d/);
});

test("uwsgi: parameters of more than 65,535 bytes are not sent", async (t) => {
  const { backend } = await recorder(t, "uwsgi");
  const holdfast = await startHoldfast(t, { config: config("uwsgi", backend, { "": "" }) });
  const fields = ["A", "B", "C", "D", "E"].map((name) => `X-${name}: ${"x".repeat(14_000)}`);
  const { status } = await get(holdfast.port, "/", ...fields);
  assert.equal(status, 500);
  await holdfast.waitForLog(/\[alert\] .*uwsgi request is too big: 70\d\d\d, client/);
});
