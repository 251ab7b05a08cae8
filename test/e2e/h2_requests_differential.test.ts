/** The directives of grpc_pass and proxy_http_version 2, each as in nginx: what the server gets, what the client gets, what is logged. */
import { test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { answerLines } from "../support/h1_transcript.ts";
import { data, type Fields, head } from "../support/h2_bytes.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { aboutServer, LogMarks, withoutPlaces } from "../support/log_marks.ts";
import { freePort } from "../support/ports.ts";
import { assertAsNginx, type Said } from "../support/recorded_nginx.ts";
import { type Script, type ScriptedServer, scriptedH2 } from "../support/scripted_h2.ts";
import { send } from "../support/tcp.ts";

const OPEN = h2.FLAG.END_HEADERS;
const FIELDS: Fields = [
  "content-type: text/plain",
  "server: theirs",
  "date: today",
  "x-one: 1",
  "x-accel-expires: 5",
  "set-cookie: a=b; Domain=origin.example; Path=/one/",
];
const answer =
  (code: string, ...more: string[]): Script =>
  (s) => [
    head(s, [`:status: ${code}`, ...FIELDS, ...more], OPEN) + data(s, `body of ${code}`, 0) + head(s, ["x-trailer: 1"]),
  ];

/** What the server answers, by the last part of the path. */
const ANSWERS: Readonly<Record<string, Script>> = {
  plain: answer("200"),
  length: (s) => [head(s, [":status: 200", ...FIELDS, "content-length: 4"], OPEN) + data(s, "body")],
  "404": answer("404"),
  "503": answer("503"),
  redirect: answer("302", "location: http://upstream.example/one/x"),
  early: (s) => [
    head(s, [":status: 103", "link: </a>"], OPEN) + head(s, [":status: 200", ...FIELDS], OPEN) + data(s, "hinted"),
  ],
  accel: answer("200", "x-accel-redirect: /page"),
  kept: answer("200", "cache-control: max-age=60"),
  large: (s) => [head(s, [":status: 200", `x-large: ${"!".repeat(3000)}`, ...FIELDS])],
  reset: (s) => [h2.rstStream(s, h2.ERROR.INTERNAL_ERROR)],
  silent: () => [],
  stops: (s) => [head(s, [":status: 200", ...FIELDS], OPEN) + data(s, "bo", 0)],
  closes: () => [undefined],
};

/** Directives in a location of each, UPPER where a prefix stands; `BACKEND` and `DEAD` are addresses. */
const BOTH: Readonly<Record<string, string>> = {
  plain: "",
  hide: "P_hide_header X-One;",
  "pass header": "P_pass_header X-Accel-Expires; P_pass_header Server; P_pass_header Date;",
  ignore: "P_ignore_headers X-Accel-Redirect X-Accel-Expires;",
  set: "P_set_header X-Set $request_method; P_set_header X-Gone ''; P_set_header X-Mine other;",
  "set host": "P_set_header Host other.example;",
  "set host from the client": "P_set_header Host $http_host;",
  "set no host": "P_set_header Host '';",
  "set authority": "P_set_header :authority other.example;",
  "set te": "P_set_header TE gzip;",
  "set no te": "P_set_header TE '';",
  "set connection": "P_set_header Connection upgrade; P_set_header Upgrade $http_upgrade;",
  "set length": "P_set_header Content-Length 3;",
  "set no length": "P_set_header Content-Length '';",
  "set transfer-encoding": "P_set_header Transfer-Encoding chunked;",
  "set cookie": "P_set_header Cookie 'c=1; d=2';",
  "set in capitals": "P_set_header X-CAPITALS $host;",
  intercept: "P_intercept_errors on; error_page 404 =200 /page; error_page 503 /page;",
  "error pages": "error_page 502 504 /page;",
  "buffer size": "P_buffer_size 1k; PROXY_buffers 4 1k; PROXY_busy_buffers_size 1k;",
  bind: "P_bind 127.0.0.2;",
  "bind off": "P_bind off;",
  keepalive: "P_socket_keepalive on;",
  "socket buffers": "P_socket_rcvbuf 64k; P_socket_sndbuf 64k;",
  "read timeout": "P_read_timeout 100ms;",
  "send timeout": "P_send_timeout 100ms; P_read_timeout 300ms;",
  rewritten: "rewrite ^ /other/plain?x=%20 break;",
  "other method": "if ($http_x_never) { return 400; }",
  trailers: "add_trailer X-Ours $upstream_trailer_x_trailer; add_header X-Status $upstream_status always;",
  "early hints": "early_hints $http_x_hints;",
  "limit except": "limit_except GET { deny all; }",
  "next: nothing": "P_next_upstream off;",
};

const PROXY: Readonly<Record<string, string>> = {
  method: "proxy_method PUT;",
  "method of a variable": "proxy_method $http_x_method;",
  body: "proxy_set_body 'other body';",
  "no body": "proxy_pass_request_body off;",
  "no body, no length": "proxy_pass_request_body off; proxy_set_header Content-Length '';",
  "no fields": "proxy_pass_request_headers off;",
  "trailers passed": "proxy_pass_trailers on;",
  "no buffering": "proxy_buffering off;",
  "no request buffering": "proxy_request_buffering off;",
  "no buffering at all": "proxy_buffering off; proxy_request_buffering off; proxy_pass_trailers on;",
  "cookie domain": "proxy_cookie_domain origin.example other.example;",
  "cookie path": "proxy_cookie_path /one/ /two/;",
  "cookie flags": "proxy_cookie_flags a secure httponly;",
  redirect: "proxy_redirect http://upstream.example/one/ /two/;",
  "no redirect": "proxy_redirect off;",
  cache: "proxy_cache one; proxy_cache_key $uri; add_header X-Cache $upstream_cache_status;",
  "cache, trailers":
    "proxy_cache one; proxy_cache_key t$uri; proxy_pass_trailers on; add_header X-Cache $upstream_cache_status;",
  "cache, no convert":
    "proxy_cache one; proxy_cache_key h$uri$request_method; proxy_cache_convert_head off; proxy_cache_methods GET HEAD POST; add_header X-Cache $upstream_cache_status;",
  "cache, revalidated":
    "proxy_cache one; proxy_cache_key r$uri; proxy_cache_valid 200 1m; proxy_ignore_headers X-Accel-Expires Set-Cookie; add_header X-Cache $upstream_cache_status;",
  ranges: "proxy_force_ranges on;",
  rate: "proxy_limit_rate 1m;",
  "abort ignored": "proxy_ignore_client_abort on;",
  headers:
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Host $proxy_host; proxy_set_header X-Port $proxy_port;",
};

/** Locations with a pass of their own. */
const OTHERS: Readonly<Record<string, string>> = {
  "proxy uri": "proxy_pass http://BACKEND/base/; proxy_http_version 2;",
  "proxy variables": "set $where BACKEND; proxy_pass http://$where; proxy_http_version 2;",
  "proxy variables with a uri": "set $where BACKEND; proxy_pass http://$where/fixed?y=1; proxy_http_version 2;",
  "proxy group": "proxy_pass http://group; proxy_http_version 2;",
  "proxy group, next": "proxy_pass http://next; proxy_http_version 2;",
  "proxy group, next for all":
    "proxy_pass http://next; proxy_http_version 2; proxy_next_upstream error timeout invalid_header http_503 http_404 non_idempotent;",
  "proxy group, one try": "proxy_pass http://next; proxy_http_version 2; proxy_next_upstream_tries 1;",
  "proxy dead": "proxy_pass http://DEAD; proxy_http_version 2;",
  "proxy kept": "proxy_pass http://kept; proxy_http_version 2;",
  "grpc variables": "set $where BACKEND; grpc_pass $where;",
  "grpc scheme": "grpc_pass grpc://BACKEND;",
  "grpc group": "grpc_pass group;",
  "grpc group, next": "grpc_pass next;",
  "grpc group, next for all":
    "grpc_pass next; grpc_next_upstream error timeout invalid_header http_503 http_404 non_idempotent;",
  "grpc group, one try": "grpc_pass next; grpc_next_upstream_tries 1;",
  "grpc dead": "grpc_pass DEAD;",
  "grpc kept": "grpc_pass kept_too;",
};

interface Asked {
  readonly method?: string;
  readonly fields?: string;
  readonly body?: string;
  /** The last parts of paths, "plain" if none is named. */
  readonly paths?: readonly string[];
}

const REQUESTS: Readonly<Record<string, Asked>> = {
  GET: { fields: "X-Mine: 1\r\nX-Gone: 1\r\nX-Method: PATCH\r\n" },
  POST: { method: "POST", fields: "Content-Length: 5\r\nX-Method: PATCH\r\n", body: "hello" },
};

/** Made where a location is about them. */
const MORE: Readonly<Record<string, readonly (readonly [name: string, asked: Asked])[]>> = {
  plain: [
    ["chunks", { method: "POST", fields: "Transfer-Encoding: chunked\r\n", body: "5\r\nhello\r\n0\r\n\r\n" }],
    ["HEAD", { method: "HEAD" }],
    ["a length", { paths: ["length"] }],
    ["a body of nothing", { method: "POST", fields: "Content-Length: 0\r\n" }],
    ["te", { fields: "TE: trailers\r\n" }],
    ["te with more", { fields: "TE: gzip, trailers\r\n" }],
    ["of a hop", { fields: "X-Hop: 1\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nExpect: x\r\n" }],
    ["cookies", { fields: "Cookie: a=1; b=2\r\nCookie: c=3\r\n" }],
    ["capitals", { fields: "X-CAPS: A\r\nAccept-Encoding: GZIP\r\nAuthorization: Basic eHg6eXk=\r\n" }],
    ["OPTIONS", { method: "OPTIONS" }],
    ["DELETE", { method: "DELETE" }],
    ["a large field", { fields: `X-Large: ${"!".repeat(7000)}\r\n` }],
    [
      "paths",
      {
        paths: [
          "404",
          "503",
          "redirect",
          "early",
          "accel",
          "large",
          "reset",
          "closes",
          "a%20b/../plain?c=%20d",
          "x//plain",
        ],
      },
    ],
  ],
  ignore: [["accel", { paths: ["accel"] }]],
  intercept: [["errors", { paths: ["404", "503"] }]],
  "error pages": [["errors", { paths: ["reset", "closes"] }]],
  "buffer size": [["large", { paths: ["large"] }]],
  "read timeout": [["silence", { paths: ["silent", "stops"] }]],
  "early hints": [
    ["hinted", { paths: ["early"], fields: "X-Hints: 1\r\n" }],
    ["not hinted", { paths: ["early"] }],
  ],
  "set connection": [["upgrade", { fields: "Upgrade: websocket\r\n" }]],
  "set te": [["te", { fields: "TE: trailers\r\n" }]],
  "set no te": [["te", { fields: "TE: trailers\r\n" }]],
  trailers: [["te", { fields: "TE: trailers\r\n" }]],
  "trailers passed": [
    ["te", { fields: "TE: trailers\r\n" }],
    ["old", { paths: ["404"] }],
  ],
  "no buffering": [["te", { fields: "TE: trailers\r\n" }]],
  "no buffering at all": [
    [
      "chunks",
      { method: "POST", fields: "TE: trailers\r\nTransfer-Encoding: chunked\r\n", body: "5\r\nhello\r\n0\r\n\r\n" },
    ],
  ],
  "no request buffering": [
    ["chunks", { method: "POST", fields: "Transfer-Encoding: chunked\r\n", body: "5\r\nhello\r\n0\r\n\r\n" }],
  ],
  redirect: [["redirect", { paths: ["redirect"] }]],
  "no redirect": [["redirect", { paths: ["redirect"] }]],
  method: [["HEAD", { method: "HEAD" }]],
  cache: [
    ["HEAD", { method: "HEAD" }],
    ["kept", { paths: ["kept", "kept", "length", "length"] }],
  ],
  "cache, trailers": [["kept", { paths: ["kept", "kept"], fields: "TE: trailers\r\n" }]],
  "cache, no convert": [["kept", { method: "HEAD", paths: ["length", "length"] }]],
  "cache, revalidated": [
    ["kept", { paths: ["plain", "length"] }],
    ["a range", { paths: ["plain"], fields: "Range: bytes=0-3\r\n" }],
  ],
  ranges: [["a range", { paths: ["length"], fields: "Range: bytes=0-1\r\n" }]],
  "proxy group, next": [
    ["failures", { paths: ["503", "404", "reset", "closes"] }],
    ["POST", { method: "POST", fields: "Content-Length: 5\r\n", body: "hello", paths: ["reset"] }],
  ],
  "proxy group, next for all": [
    ["failures", { paths: ["503", "404", "reset", "closes"] }],
    ["POST", { method: "POST", fields: "Content-Length: 5\r\n", body: "hello", paths: ["reset", "503"] }],
  ],
  "grpc group, next": [["failures", { paths: ["503", "404", "reset", "closes"] }]],
  "grpc group, next for all": [["failures", { paths: ["503", "404", "reset", "closes"] }]],
};

const LOCATIONS = new Map<string, readonly [text: string, about: string]>([
  ...Object.entries(BOTH).map(
    ([name, text]) =>
      [
        `grpc ${name}`,
        [`grpc_pass BACKEND; ${text.replaceAll("P_", "grpc_").replace(/PROXY_\w+ [^;]*;/g, "")}`, name],
      ] as const,
  ),
  ...Object.entries({ ...BOTH, ...PROXY }).map(
    ([name, text]) =>
      [
        `proxy ${name}`,
        [
          `proxy_pass http://BACKEND; proxy_http_version 2; ${text.replaceAll("PROXY_", "proxy_").replaceAll("P_", "proxy_")}`,
          name,
        ],
      ] as const,
  ),
  ...Object.entries(OTHERS).map(([name, text]) => [name, [text, name]] as const),
]);
const slug = (name: string) => name.replaceAll(/[^a-z]+/g, "-");

const config =
  (backend: number, dead: number) =>
  ([listen]: readonly number[]) =>
    `worker_processes 1; http {
  log_format all '$request|$status|$upstream_status|$upstream_addr|$upstream_http_x_one|$upstream_trailer_x_trailer|$upstream_cache_status';
  access_log logs/access.log all; root html;
  proxy_cache_path cache keys_zone=one:1m;
  upstream group { server 127.0.0.1:${backend}; }
  upstream next { server 127.0.0.1:${backend} max_fails=0; server 127.0.0.1:${backend} max_fails=0; server 127.0.0.1:${backend} backup; keepalive 0; }
  upstream kept { server 127.0.0.1:${backend}; keepalive 4; }
  upstream kept_too { server 127.0.0.1:${backend}; keepalive 4; }
  server { listen 127.0.0.1:${listen};
    location = /page { return 200 page; }
    ${[...LOCATIONS]
      .map(
        ([name, [text]]) =>
          `location /${slug(name)}/ { ${text.replaceAll("BACKEND", `127.0.0.1:${backend}`).replaceAll("DEAD", `127.0.0.1:${dead}`)} }`,
      )
      .join("\n")} } }`;

/** What is meant to differ, by how the names of cases begin behind "grpc" or "proxy". */
const DIFFERENT: Readonly<Record<string, string>> = {
  "plain: of a hop": "fields that Connection names stay behind",
  "plain: paths early": "$upstream_status is that of the answer",
  "early hints: ": "$upstream_status is that of the answer",
  "early hints: not": "$upstream_status is that of the answer",
  "set connection: ": "fields about a connection are not sent",
  "set length: ": "the framing is the body's own",
  "set transfer-encoding: ": "the framing is the body's own",
  "no body: POST": "the framing is the body's own",
};

/** Those of these cases, with the reason. */
function differing(names: Iterable<string>): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of names) {
    const about = name.replace(/^(?:grpc|proxy) /, "");
    const key = Object.keys(DIFFERENT).find((start) => about.startsWith(start));
    // What these locations have in common with others is the same.
    if (key !== undefined && !/^early hints: (?:GET|HEAD|POST)/.test(about)) found[name] = DIFFERENT[key];
  }
  return found;
}

async function observe(backend: ScriptedServer, dead: number, server: Running): Promise<Said> {
  const names = { [String(backend.port)]: "BACKEND", [String(dead)]: "DEAD" };
  const marks = new LogMarks(server, server.port, names);
  const said = new Map<string, string[]>();
  await marks.lines();
  for (const [name, [, about]] of LOCATIONS) {
    for (const [what, { method = "GET", fields = "", body = "", paths = ["plain"] }] of [
      ...Object.entries(REQUESTS),
      ...(MORE[about] ?? []),
    ]) {
      for (const [i, path] of paths.entries()) {
        const lines = `${method} /${slug(name)}/${path} HTTP/1.1\r\nHost: a.example\r\nConnection: X-Hop, close\r\n`;
        backend.requests();
        const got = await send(server.port, `${lines}${fields}\r\n${body}`);
        said.set(`${name}: ${what} ${path}${paths.indexOf(path) < i ? " again" : ""}`, [
          ...answerLines(got).map((line) => withoutPlaces(line, server)),
          ...backend.requests().map((line) => withoutPlaces(line, server, names)),
          ...(await marks.lines()).map(aboutServer),
        ]);
      }
    }
  }
  return said;
}

test("requests to servers, by each directive", async (t) => {
  const backend = await scriptedH2(t, (fields) => {
    const path = fields.find((field) => field.startsWith(":path: "));
    return ANSWERS[/(\w+)(?:\?.*)?$/.exec(path ?? "")?.[1] ?? ""] ?? ANSWERS.plain;
  });
  const dead = await freePort();
  const options = { config: config(backend.port, dead) };
  const said = await observe(backend, dead, await startHoldfast(t, options));
  const ask = async (binary: string) => observe(backend, dead, await startNginx(t, options, binary));
  await assertAsNginx("h2_requests_to_servers", said, ask, differing(said.keys()));
});
