/** Directives over HTTP/2 to clients, each as in nginx: what a client gets, how its connection ends, and what is logged. */
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import * as h2 from "../../src/wire/h2/frames.ts";
import { block, data, frame, get, head, post, request } from "../support/h2_bytes.ts";
import {
  asked,
  at,
  type Case,
  compareClients,
  ended,
  hostsOf,
  leaving,
  plain,
  streamed,
  until,
} from "../support/h2_clients.ts";

/** Servers by their name, each with an address of its own. */
const SERVERS: Readonly<Record<string, string>> = {
  plain: "",
  streams: "http2_max_concurrent_streams 2;",
  preread: "http2_body_preread_size 100;",
  "no preread": "http2_body_preread_size 0;",
  chunks: "http2_chunk_size 1000;",
  buffers: "large_client_header_buffers 2 1k;",
  "small buffer": "client_header_buffer_size 64;",
  "max body": "client_max_body_size 10; error_page 413 /too-large;",
  "body timeout": "client_body_timeout 100ms;",
  "header timeout": "client_header_timeout 100ms;",
  "keepalive timeout": "keepalive_timeout 100ms;",
  "keepalive timeout 0": "keepalive_timeout 0;",
  "keepalive requests": "keepalive_requests 2;",
  "keepalive time": "keepalive_time 1s;",
  "send timeout": "send_timeout 100ms;",
  lingering: "lingering_close off;",
  invalid: "ignore_invalid_headers off;",
  underscores: "underscores_in_headers on;",
  "max headers": "max_headers 2;",
  merging: "merge_slashes off;",
  "to a file": "client_body_in_file_only clean; client_body_buffer_size 4;",
  "single buffer": "client_body_in_single_buffer on; client_body_buffer_size 1k;",
  "absolute redirects":
    "absolute_redirect on; server_name_in_redirect on; server_name named.example; port_in_redirect off;",
  "no tokens": "server_tokens off; etag off;",
  "error pages":
    "error_page 400 =403 /bad; error_page 404 =200 /found; error_page 494 /long; recursive_error_pages on;",
  reset: "reset_timedout_connection on; client_body_timeout 100ms;",
  "chunked off": "chunked_transfer_encoding off;",
  listening: "",
  // Only the second server of this address has it on.
  unlike: "http2 off;",
};
const HOSTS = hostsOf(Object.keys(SERVERS));

const config =
  (backend: string) =>
  ([port]: readonly number[]) =>
    `worker_processes 1; http {
  map $status $size { ~^[345] -; default $body_bytes_sent; }
  log_format all '$request|$status|$server_protocol|$http2|$connection_requests|$request_length|$size|$request_completion|$host|$http_x|$ssl_protocol|$server_name';
  access_log logs/access.log all;
  default_type text/plain;
  limit_req_zone $server_addr zone=req:1m rate=1r/m;
  limit_conn_zone $server_addr zone=conn:1m;
  root html;
  server { listen 127.0.0.1:${port}; }
  ${[...HOSTS]
    .map(
      ([
        name,
        host,
      ]) => `server { listen ${host}:${port}${name === "listening" ? " http2" : ""};${["listening", "unlike"].includes(name) ? "" : " http2 on;"} ${SERVERS[name]}
    location / { return 200 "$request_method|$request_uri|$uri|$args|$host|$server_name|$scheme|$https|$server_protocol|$http2|$connection_requests|$request_length|$content_length|$content_type|$http_x|$http_cookie|$http_host|$http_te"; }
    location /large { }
    location /long-text { return 200 ${"x".repeat(3500)}; }
    location /read { proxy_pass http://${backend}/answer; }
    location /stream { proxy_pass http://${backend}/stream; proxy_request_buffering off; }
    location /hints { proxy_pass http://${backend}/hints; early_hints 1; }
    location /silent { proxy_pass http://${backend}/silent; }
    location /echo { mirror /mirrored; return 200 "$request_body"; }
    location /body { proxy_pass http://${backend}/set; proxy_set_header X "$request_body|$request_body_file"; }
    location /set { proxy_pass http://${backend}/set; proxy_pass_header Server; proxy_pass_header Date; }
    location /moved { return 301 /elsewhere; }
    location /dir { }
    location /missing { return 404; }
    location /error { return 500; }
    location /empty { return 204; }
    location /unchanged { return 304; }
    location /close { return 444; }
    location /too-large { return 200 "page of 413"; }
    location /bad { return 200 "page of 400"; }
    location /found { return 200 "page of 404"; }
    location /long { return 200 "page of 494"; }
    location /trailer { add_trailer X-Trailer $request_method; return 200 trailed; }
    location /headers { add_header X-Long "${"y".repeat(300)}"; add_header Connection close; add_header X_Under Score; return 200 ok; }
    location /slow { limit_rate 1m; }
    location /limited { limit_req zone=req; return 200 limited; }
    location /slow-get { limit_conn conn 1; proxy_pass http://${backend}/answer; }
    location /range { }
    location /auth { auth_basic "closed"; }
    location /deny { deny all; }
  }`,
    )
    .join("\n")}
  server { listen ${HOSTS.get("plain")}:${port}; server_name off.example; http2 off; return 200 off; }
  server { listen ${HOSTS.get("unlike")}:${port}; server_name on.example; http2 on; return 200 on; }
}`;

const FILES = { "html/large": "0123456789abcdef".repeat(1000), "html/dir/index.html": "index" };

const { END_STREAM, END_HEADERS } = h2.FLAG;
const to = (host: string) => [":method: GET", ":scheme: http", ":path: /", `:authority: ${host}`];
const windows = (size: number) => h2.settingsFrame([[h2.SETTING.INITIAL_WINDOW_SIZE, size]]);

const CASES: Readonly<Record<string, Case>> = {
  greeting: { ...plain(get("/")), greeting: true },
  "greeting: streams": { ...at("streams", get("/")), greeting: true },
  "greeting: preread": { ...at("preread", get("/")), greeting: true },
  "greeting: no preread": { ...at("no preread", get("/")), greeting: true },
  "head of a file": plain(request(1, "HEAD", "/large")),
  post: plain(post("/", "12345", ["content-length: 5", "content-type: a/b"])),
  "post, read": plain(post("/read", "12345", ["content-length: 5"])),
  "post, read, without a length": plain(post("/read", "12345")),
  "post, streamed": plain(post("/stream", "12345", ["content-length: 5"])),
  "post, streamed, without a length": plain(...streamed(), data(1, "45")),
  "post, more than announced": plain(post("/read", "123456", ["content-length: 5"])),
  "post, less than announced": plain(post("/read", "1234", ["content-length: 5"])),
  "post, streamed, more than announced": plain(...streamed(["content-length: 5"]), data(1, "456")),
  "post, streamed, less than announced": plain(...streamed(["content-length: 5"]), data(1, "4")),
  "post, unread, more than announced": plain(post("/", "123456", ["content-length: 5"])),
  "post, length of nothing": plain(request(1, "POST", "/read", ["content-length: 0"])),
  "post, length without a body": plain(request(1, "POST", "/read", ["content-length: 5"])),
  "post without a body": plain(request(1, "POST", "/read")),
  "post, a bad length": plain(post("/read", "12345", ["content-length: 5x"])),
  "post, two lengths": plain(post("/read", "12345", ["content-length: 5", "content-length: 5"])),
  "post, expecting": plain(post("/read", "12345", ["content-length: 5", "expect: 100-continue"])),
  "post, and the client leaves": leaving(
    request(1, "POST", "/read", [], END_HEADERS) + data(1, "12345", 0) + get("/", [], 3),
    ended(3),
  ),
  "post, streamed, and the client leaves": leaving(...streamed()),
  "answer awaited, and the client leaves": leaving(get("/silent"), asked("GET /silent")),
  "answer awaited, and the client resets": leaving(
    get("/silent"),
    asked("GET /silent"),
    h2.rstStream(1, h2.ERROR.CANCEL) + get("/", [], 3),
    ended(3),
  ),
  "answer awaited, and the client has an error": leaving(
    get("/silent"),
    asked("GET /silent"),
    h2.rstStream(1, h2.ERROR.INTERNAL_ERROR) + get("/", [], 3),
    ended(3),
  ),
  request_body: plain(post("/body", "12345")),
  "request_body in a file": at("to a file", post("/body", "12345")),
  "request_body in a single buffer": at(
    "single buffer",
    request(1, "POST", "/body", [], END_HEADERS),
    data(1, "123", 0),
    data(1, "45"),
  ),
  file: { ...plain(get("/large")), sizes: true },
  "file in chunks": { ...at("chunks", get("/large")), sizes: true },
  "text in chunks": { ...at("chunks", get("/long-text")), sizes: true },
  range: plain(get("/large", ["range: bytes=1-4"])),
  ranges: plain(get("/large", ["range: bytes=20000-"])),
  "not modified": plain(get("/large", ["if-none-match: *"])),
  moved: plain(get("/moved")),
  "moved to a directory": plain(get("/dir")),
  "moved, absolute": at("absolute redirects", get("/dir")),
  missing: plain(get("/missing")),
  error: plain(get("/error")),
  empty: plain(get("/empty")),
  unchanged: plain(get("/unchanged")),
  "closed without an answer": plain(get("/close")),
  trailer: plain(get("/trailer", ["te: trailers"])),
  "trailer not asked for": plain(get("/trailer")),
  "fields of the answer": plain(get("/headers")),
  "no chunked framing": at("chunked off", get("/read")),
  auth: plain(get("/auth")),
  deny: plain(get("/deny")),
  limit_req: plain(get("/limited"), ended(1), get("/limited", [], 3), ended(3)),
  "no tokens": at("no tokens", get("/large")),
  "error page of 404": at("error pages", get("/missing")),
  "error page of 400": at("error pages", get("/", ["content-length: x"])),
  "error page of 494": at("error pages", get("/", [`x: ${"y".repeat(40000)}`])),
  "too large a field": plain(get("/", [`x: ${"!".repeat(9000)}`])),
  "too large a name": plain(get("/", [`${"x".repeat(9000)}: 1`])),
  "too large a head": until(
    plain(
      get(
        "/",
        [1, 2, 3, 4, 5, 6].map((n) => `x${n}: ${"!".repeat(7000)}`),
      ),
    ),
  ),
  "too large a path": plain(get(`/${"!".repeat(9000)}`)),
  "too large a field for small buffers": at("buffers", get("/", [`x: ${"!".repeat(1025)}`])),
  "as large a field as small buffers hold": at("buffers", get("/", [`x: ${"!".repeat(1000)}`])),
  "too large a head for small buffers": until(
    at(
      "buffers",
      get(
        "/",
        [1, 2, 3].map((n) => `x${n}: ${"!".repeat(900)}`),
      ),
    ),
  ),
  "a head larger than its first buffer": at("small buffer", get("/", [`x: ${"y".repeat(500)}`])),
  "body too large": at("max body", post("/read", "x".repeat(11), ["content-length: 11"])),
  "body too large, without a length": at("max body", post("/read", "x".repeat(11))),
  "body too large, streamed": at("max body", ...streamed(), data(1, "x".repeat(11))),
  "body too large, unread": at("max body", post("/", "x".repeat(11))),
  "body just not too large": at("max body", post("/read", "x".repeat(10))),
  "body too large, and another request": {
    ...at("max body", post("/read", "x".repeat(11), ["content-length: 11"]), ended(1), get("/", [], 3), ended(3)),
    streams: 2,
  },
  "body that stops": at(
    "body timeout",
    request(1, "POST", "/read", ["content-length: 5"], END_HEADERS),
    data(1, "12", 0),
  ),
  "body that stops, streamed": at("body timeout", ...streamed(["content-length: 5"])),
  "body that stops, unread": at(
    "body timeout",
    request(1, "POST", "/", ["content-length: 5"], END_HEADERS),
    data(1, "12", 0),
  ),
  "body that stops, reset": at(
    "reset",
    request(1, "POST", "/read", ["content-length: 5"], END_HEADERS),
    data(1, "12", 0),
  ),
  "nothing is said": until(at("header timeout")),
  "a block that stops": at("header timeout", frame(h2.HEADERS, END_STREAM, 1, block([":method: GET"]))),
  "a frame that stops": at("header timeout", get("/").slice(0, 20)),
  "idle after a request": until(at("keepalive timeout", get("/"))),
  "keepalive_timeout 0": until(at("keepalive timeout 0", get("/"))),
  "keepalive_timeout 0, two at once": until(at("keepalive timeout 0", get("/") + get("/", [], 3))),
  keepalive_requests: until(at("keepalive requests", get("/"), ended(1), get("/", [], 3), ended(3))),
  "keepalive_requests, one more": until(at("keepalive requests", get("/") + get("/", [], 3) + get("/", [], 5))),
  keepalive_time: until(at("keepalive time", get("/"), ended(1), () => sleep(1100), get("/", [], 3), ended(3))),
  "a client that reads nothing": at("send timeout", windows(0), get("/large")),
  "a client that stops reading": at("send timeout", windows(10), get("/large")),
  "lingering_close off": until(at("lingering", get("/"), ended(1), h2.windowUpdate(0, 0))),
  "more streams than there may be": {
    ...at("streams", windows(0), get("/large"), get("/large", [], 3), get("/large", [], 5), ended(5), windows(100000)),
    streams: 3,
  },
  "body within its window": at(
    "preread",
    h2.SETTINGS_ACK + request(1, "POST", "/read", [], END_HEADERS),
    data(1, "x".repeat(100)),
  ),
  "body beyond its window": at(
    "preread",
    h2.SETTINGS_ACK + request(1, "POST", "/read", [], END_HEADERS),
    data(1, "x".repeat(101)),
  ),
  "body without a window": at(
    "no preread",
    h2.SETTINGS_ACK + request(1, "POST", "/read", [], END_HEADERS),
    (client) => client.frame(h2.WINDOW_UPDATE, 1),
    data(1, "x".repeat(100)),
  ),
  "a body before SETTINGS are known": at("no preread", request(1, "POST", "/read", [], END_HEADERS)),
  "unread body without a window": {
    ...at("no preread", h2.SETTINGS_ACK + request(1, "POST", "/", ["content-length: 5"], END_HEADERS), (client) =>
      client.frame(h2.RST_STREAM),
    ),
    unread: true,
  },
  "reset by the client": leaving(
    request(1, "POST", "/read", [], END_HEADERS) + h2.rstStream(1, h2.ERROR.CANCEL) + get("/", [], 3),
    ended(3),
  ),
  "goaway of the client": plain(get("/"), ended(1), h2.goaway(0, 0)),
  "listen … http2": at("listening", get("/")),
  "a server without it": plain(head(1, to("off.example"))),
  "a server without it, and one with it": {
    ...plain(head(1, to("off.example")), ended(1), get("/", [], 3)),
    streams: 2,
  },
  "a default server without it": until(at("unlike", get("/"))),
  "a server with it, whose default has none": until(at("unlike", head(1, to("on.example")))),
  "early hints": plain(get("/hints")),
  "a server without it, and a field": plain(head(1, [...to("off.example"), "x: 1"])),
};

/** What is meant to differ. */
const OTHERS = {
  "body too large": "an error_page of 413 is shown over HTTP/2 as over HTTP/1",
  "body too large, and another request": "as before",
};

test("directives over HTTP/2 to clients", (t) =>
  compareClients(t, { name: "http2_directives", hosts: HOSTS, config, files: FILES, cases: CASES, others: OTHERS }));
