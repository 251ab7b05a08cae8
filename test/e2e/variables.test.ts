import assert from "node:assert/strict";
import os from "node:os";
import { test } from "node:test";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { get, RawConnection, request } from "../support/tcp.ts";

/** Variables whose value depends on nothing but the request and the configuration. */
const STEADY = [
  "args",
  "arg_a",
  "arg_A",
  "arg_none",
  "arg_",
  "binary_remote_addr",
  "connection_requests",
  "content_length",
  "content_type",
  "cookie_one",
  "cookie_TWO",
  "cookie_none",
  "document_root",
  "document_uri",
  "host",
  "http_cookie",
  "http_host",
  "http_user_agent",
  "http_x_field",
  "http_x_forwarded_for",
  "http_none",
  "https",
  "is_args",
  "pipe",
  "proxy_protocol_addr",
  "proxy_protocol_port",
  "query_string",
  "realpath_root",
  "remote_addr",
  "remote_user",
  "request",
  "request_body",
  "request_body_file",
  "request_completion",
  "request_filename",
  "request_length",
  "request_method",
  "request_uri",
  "scheme",
  "server_addr",
  "server_name",
  "server_port",
  "server_protocol",
  "status",
  "uri",
  "limit_rate",
];

/** Variables as they are when the response has been sent. */
const LOGGED = [
  "status",
  "body_bytes_sent",
  "request_completion",
  "sent_http_content_type",
  "sent_http_content_length",
  "sent_http_location",
  "sent_http_transfer_encoding",
  "sent_http_none",
  "request_method",
  "request",
  "uri",
  "request_uri",
  "host",
  "server_protocol",
  "request_length",
  "remote_user",
];

const show = (names: readonly string[]) => names.map((name) => `${name}=[$${name}]`).join(" ");

function config(ports: readonly number[]): string {
  return `http {
    keepalive_timeout 60s 30s;
    underscores_in_headers on;
    log_format logged '${show(LOGGED)}';
    access_log logs/access.log logged;
    server {
      listen 127.0.0.1:${ports[0]};
      server_name first.test second.test;
      root files;
      location / { return 200 '${show(STEADY)}'; }
      location /added { add_header X-Added one; add_header X-Added two; add_header Cache-Control a; return 200 added; }
      location /moved { return 301 /to; }
      location /missing { }
      location /chunked { root files; }
      location /late { limit_rate 0; set $limit_rate 10k; return 200 $limit_rate; }
      location /page { error_page 404 /added; return 404; }
    }
  }`;
}

const FILES = { "files/a.txt": "a" } as const;

const REQUESTS: readonly string[] = [
  "GET /x%20y/z?a=1&A=2&b HTTP/1.1\r\nHost: Second.TEST:81\r\n",
  "GET / HTTP/1.1\r\nHost: other\r\nX-Field: one\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n",
  "GET / HTTP/1.1\r\nHost: x\r\nCookie: one=1; two = 2; three\r\nCookie: Two=3; ONE=4\r\nUser-Agent: me\r\n",
  "GET /? HTTP/1.1\r\nHost: x\r\nAuthorization: Basic dXNlcjpwYXNz\r\n",
  "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: basic  dXNlcg==\r\n",
  "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ***\r\n",
  "GET http://Abs.test:8080?a=q HTTP/1.1\r\nHost: x\r\n",
  "GET http://Abs.test/p/../q?a=q HTTP/1.1\r\nHost: x\r\n",
  "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\nContent-Length: 3\r\n",
  "GET / HTTP/1.0\r\n",
  "GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n",
  "HEAD / HTTP/1.1\r\nHost: x\r\n",
  "OPTIONS /a HTTP/1.1\r\nHost: x\r\n",
  "GET /added HTTP/1.1\r\nHost: x\r\n",
  "GET /moved HTTP/1.1\r\nHost: x\r\n",
  "GET /missing HTTP/1.1\r\nHost: x\r\n",
  "GET /late HTTP/1.1\r\nHost: x\r\n",
  "GET /page?q HTTP/1.1\r\nHost: x\r\n",
  "BAD\r\n",
];

async function answers(server: Running): Promise<readonly string[]> {
  const found: string[] = [];
  for (const head of REQUESTS) {
    const body = head.includes("Content-Length: 3") ? "abc" : "";
    const reply = await request(server.port, `${head}\r\n${body}`);
    found.push(steady(server, `${reply.status} ${reply.status === 200 ? reply.body : ""}`));
  }
  return found;
}

/** Without ports, directories and the two servers' own names in error pages. */
function steady(server: Running, text: string): string {
  return text.replaceAll(String(server.port), "PORT").replaceAll(server.prefix, "PREFIX");
}

test("variables have nginx's values, at work and in the log", { skip: have("nginx") }, async (t) => {
  const nginx = await startNginx(t, { config, files: FILES });
  const holdfast = await startHoldfast(t, { config, files: FILES });
  const [expected, actual] = [await answers(nginx), await answers(holdfast)];
  for (const [i, head] of REQUESTS.entries()) assert.deepEqual(actual[i].split("] "), expected[i].split("] "), head);

  await holdfast.waitForLog(/request=\[BAD/, "logs/access.log");
  await nginx.waitForLog(/request=\[BAD/, "logs/access.log");
  const lines = (server: Running) =>
    steady(server, server.accessLog())
      .split("\n")
      // Error pages carry the server's name, which is not as long as the other's.
      .map((line) => line.replace(/(?<=^status=\[[345].*(bytes_sent|content_length)=\[)\d+/g, "N"));
  assert.deepEqual(lines(holdfast), lines(nginx));
});

test("variables that are there only now, or are of one moment", async (t) => {
  const names = [
    "http_x_field",
    "sent_http_x_added",
    "request_port",
    "is_request_port",
    "nginx_version",
    "pid",
    "hostname",
    "msec",
    "time_iso8601",
    "time_local",
    "connection",
    "connection_requests",
    "connection_time",
    "request_time",
    "request_id",
    "tcpinfo_rtt",
  ];
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http {
      underscores_in_headers on;
      log_format names '${show(names)} again=[$request_id]';
      access_log logs/access.log names;
      server { listen 127.0.0.1:${port}; add_header X-Added one; add_header X-Added two; return 200 $request_id; }
    }`,
  });
  const connection = await RawConnection.open(holdfast.port);
  t.after(() => connection.close());
  connection.write("GET / HTTP/1.1\r\nHost: x:8000\r\nX-Field: one\r\nX_field: two\r\n\r\n");
  const first = await connection.readResponse();
  connection.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const second = await connection.readResponse();
  assert.match(first.body, /^[0-9a-f]{32}$/);
  assert.notEqual(first.body, second.body);

  await holdfast.waitForLog(/connection_requests=\[2\]/, "logs/access.log");
  const [one, two] = holdfast
    .accessLog()
    .split("\n")
    .map((line) => values(line));
  const expected: Readonly<Record<string, RegExp>> = {
    http_x_field: /^one, two$/,
    sent_http_x_added: /^one, two$/,
    request_port: /^8000$/,
    is_request_port: /^:$/,
    nginx_version: /^1\.31\.5$/,
    pid: /^[1-9]\d*$/,
    hostname: new RegExp(`^${RegExp.escape(os.hostname().toLowerCase())}$`),
    msec: /^\d{10}\.\d{3}$/,
    time_iso8601: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d$/,
    time_local: /^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}$/,
    connection: /^[1-9]\d*$/,
    connection_requests: /^1$/,
    connection_time: /^\d+\.\d{3}$/,
    request_time: /^\d+\.\d{3}$/,
    request_id: new RegExp(`^${first.body}$`),
    again: new RegExp(`^${first.body}$`),
    tcpinfo_rtt: /^-$/,
  };
  for (const [name, pattern] of Object.entries(expected)) assert.match(one.get(name) ?? "", pattern, name);
  assert.equal(two.get("connection"), one.get("connection"));
  assert.deepEqual([two.get("request_port"), two.get("is_request_port")], ["", ""]);
});

function values(line: string): ReadonlyMap<string, string> {
  return new Map([...line.matchAll(/(\w+)=\[(.*?)\]/g)].map(([, name, value]) => [name, value]));
}

test("the PROXY protocol's addresses", async (t) => {
  const names = [
    "proxy_protocol_addr",
    "proxy_protocol_port",
    "proxy_protocol_server_addr",
    "proxy_protocol_server_port",
    "proxy_protocol_tlv_authority",
    "remote_addr",
  ];
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server {
      listen 127.0.0.1:${port} proxy_protocol;
      return 200 "${show(names)}";
    } }`,
  });
  const { body } = await request(
    holdfast.port,
    "PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
  );
  assert.deepEqual([...values(body).values()], ["192.0.2.1", "1234", "192.0.2.2", "5678", "", "127.0.0.1"]);
});

test("a rate that is none is refused in the log and leaves the old one", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server {
      listen 127.0.0.1:${port};
      set $limit_rate 2k;
      set $limit_rate $arg_rate;
      return 200 $limit_rate;
    } }`,
  });
  assert.equal((await get(holdfast.port, "/?rate=3k")).body, "3072");
  assert.equal((await get(holdfast.port, "/?rate=fast")).body, "2048");
  await holdfast.waitForLog(/\[error\] .*invalid \$limit_rate "fast", client/);
});
