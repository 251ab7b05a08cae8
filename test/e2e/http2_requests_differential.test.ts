/** Requests and frames of HTTP/2, right and wrong, each taken or refused as by nginx, and in its words. */
import { test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { block, data, frame, get, request, WHOLE } from "../support/h2_bytes.ts";
import { asked, at, type Case, compareClients, ended, hostsOf, leaving, plain, until } from "../support/h2_clients.ts";

const SERVERS: Readonly<Record<string, string>> = {
  plain: "",
  invalid: "ignore_invalid_headers off;",
  underscores: "underscores_in_headers on;",
  "max headers": "max_headers 2;",
  merging: "merge_slashes off;",
};
const HOSTS = hostsOf(Object.keys(SERVERS));

const config =
  (backend: string) =>
  ([port]: readonly number[]) =>
    `worker_processes 1; http {
  log_format all '$request|$status|$connection_requests|$request_length|$host|$http_x|$server_name';
  access_log logs/access.log all; default_type text/plain; root html;
  server { listen 127.0.0.1:${port}; }
  ${[...HOSTS]
    .map(
      ([name, host]) => `server { listen ${host}:${port}; http2 on; ${SERVERS[name]}
    location / { return 200 "$request_method|$request_uri|$uri|$args|$host|$http_host|$scheme|$request_port|$http_x|$http_cookie|$http_te"; }
    location /read { proxy_pass http://${backend}/read; }
    location /silent { proxy_pass http://${backend}/silent; } }`,
    )
    .join("\n")} }`;

const { END_STREAM, END_HEADERS, PADDED, PRIORITY } = h2.FLAG;
/** HEADERS with that header block. */
const coded = (bytes: string) => frame(h2.HEADERS, WHOLE, 1, bytes);
/** After these the server closes. */
const wrong = (...steps: string[]): Case => until(plain(...steps));
/** What nginx passes over: a request follows. */
const idle = (bytes: string): Case => leaving(bytes + get("/", [], 3), ended(3));
const ROOT = [":method: GET", ":scheme: http", ":path: /", ":authority: a"];

const CASES: Readonly<Record<string, Case>> = {
  get: plain(get("/a%20b/../c?d=e%20f", ["x: 1", "cookie: a=1", "cookie: b=2", "te: trailers"])),
  head: plain(request(1, "HEAD", "/")),
  options: plain(request(1, "OPTIONS", "/")),
  trace: plain(request(1, "TRACE", "/")),
  connect: plain(request(1, "CONNECT", "/")),
  "a method of its own": plain(request(1, "BREW", "/")),
  "lower-case method": plain(request(1, "get", "/")),
  slashes: at("merging", get("//a//b")),
  "slashes merged": plain(get("//a//b")),
  "above the root": plain(get("/../x")),
  "zero byte in the path": plain(get("/a%00b")),
  "bad escape": plain(get("/%zz")),
  "space in the path": plain(get("/a b")),
  fragment: plain(get("/a#b?c")),
  "no slash": plain(get("a")),
  star: plain(request(1, "OPTIONS", "*")),
  "high bytes": plain(get("/\xe4")),
  "two requests": { ...plain(get("/") + get("/missing", [], 3)), streams: 2 },
  "fields: upper case": plain(get("/", ["X-Upper: 1"])),
  "fields: space in a name": plain(get("/", ["x y: 1"])),
  "fields: colon in a name": plain(get("/", ["x:y: 1"])),
  "fields: bad byte in a name": plain(get("/", ["x\x01y: 1"])),
  "fields: other bytes in a name": plain(get("/", ["x(y: 1"])),
  "fields: other bytes in a name, not ignored": at("invalid", get("/", ["x(y: 1"])),
  "fields: underscore": plain(get("/", ["x_y: 1"])),
  "fields: underscore allowed": at("underscores", get("/", ["x_y: 1"])),
  "fields: carriage return in a value": plain(get("/", ["x: a\rb"])),
  "fields: NUL in a value": plain(get("/", ["x: a\0b"])),
  "fields: spaces around a value": plain(get("/", ["x:   a  "])),
  "fields: tab in a value": plain(get("/", ["x: a\tb"])),
  "fields: connection": plain(get("/", ["connection: close"])),
  "fields: keep-alive": plain(get("/", ["keep-alive: 1"])),
  "fields: proxy-connection": plain(get("/", ["proxy-connection: 1"])),
  "fields: transfer-encoding": plain(get("/", ["transfer-encoding: chunked"])),
  "fields: upgrade": plain(get("/", ["upgrade: h2c"])),
  "fields: te": plain(get("/", ["te: gzip"])),
  "fields: te with more": plain(get("/", ["te: trailers, gzip"])),
  "fields: host beside authority": plain(get("/", ["host: a.example"])),
  "fields: host unlike authority": plain(get("/", ["host: b.example"])),
  "fields: two hosts": plain(get("/", ["host: a.example", "host: a.example"])),
  "fields: pseudo-header at the end": plain(get("/", [":path: /x"])),
  "fields: unknown pseudo-header": plain(frame(h2.HEADERS, WHOLE, 1, block([":method: GET", ":what: 1"]))),
  "fields: no method": plain(frame(h2.HEADERS, WHOLE, 1, block([":scheme: http", ":path: /", ":authority: a"]))),
  "fields: no scheme": plain(frame(h2.HEADERS, WHOLE, 1, block([":method: GET", ":path: /", ":authority: a"]))),
  "fields: no path": plain(frame(h2.HEADERS, WHOLE, 1, block([":method: GET", ":scheme: http", ":authority: a"]))),
  "fields: no authority": plain(frame(h2.HEADERS, WHOLE, 1, block([":method: GET", ":scheme: http", ":path: /"]))),
  "fields: host in its place": plain(
    frame(h2.HEADERS, WHOLE, 1, block([":method: GET", ":scheme: http", ":path: /", "host: B.example:8080"])),
  ),
  "fields: method twice": plain(frame(h2.HEADERS, WHOLE, 1, block([":method: GET", ":method: GET"]))),
  "fields: empty path": plain(
    frame(h2.HEADERS, WHOLE, 1, block([":method: GET", ":scheme: http", ":path: ", ":authority: a"])),
  ),
  "fields: empty method": plain(coded(block([":method: "]))),
  "fields: bad method": plain(coded(block([":method: GE T"]))),
  "fields: bad scheme": plain(frame(h2.HEADERS, WHOLE, 1, block([":method: GET", ":scheme: h!p"]))),
  "fields: another scheme": plain(
    frame(h2.HEADERS, WHOLE, 1, block([":method: GET", ":scheme: https", ":path: /", ":authority: a"])),
  ),
  "fields: bad authority": plain(
    frame(h2.HEADERS, WHOLE, 1, block([":method: GET", ":scheme: http", ":path: /", ":authority: a/b"])),
  ),
  "fields: empty authority": plain(
    frame(h2.HEADERS, WHOLE, 1, block([":method: GET", ":scheme: http", ":path: /", ":authority: "])),
  ),
  "fields: authority in capitals": plain(
    frame(h2.HEADERS, WHOLE, 1, block([":method: GET", ":scheme: http", ":path: /", ":authority: A.Example.:80"])),
  ),
  "fields: authority twice": plain(get("/", [":authority: a.example"])),
  "max headers": at("max headers", get("/", ["a: 1", "b: 2"])),
  "max headers, one more": at("max headers", get("/", ["a: 1", "b: 2", "c: 3"])),
  "large field": plain(get("/", [`x: ${"y".repeat(7000)}`])),
  "frames: DATA on stream 0": wrong(data(0, "x")),
  "frames: DATA on an idle stream": idle(data(1, "x")),
  "frames: DATA behind the end": leaving(
    get("/silent"),
    asked("GET /silent"),
    data(1, "x") + get("/", [], 3),
    ended(3),
  ),
  "frames: more padding than DATA": wrong(
    request(1, "POST", "/read", [], END_HEADERS) + frame(h2.DATA, END_STREAM | PADDED, 1, "\x04123"),
  ),
  "frames: padding without a length": wrong(
    request(1, "POST", "/read", [], END_HEADERS) + frame(h2.DATA, END_STREAM | PADDED, 1, ""),
  ),
  "frames: HEADERS on stream 0": wrong(request(0, "GET", "/")),
  "frames: HEADERS on an even stream": wrong(request(2, "GET", "/")),
  "frames: HEADERS of a lower stream": until(plain(get("/", [], 5), ended(5), get("/", [], 3))),
  "frames: HEADERS of nothing": wrong(coded("")),
  "frames: HEADERS that depend on themselves": wrong(frame(h2.HEADERS, WHOLE | PRIORITY, 1, "\0\0\0\x01\x0f")),
  "frames: more padding than HEADERS": wrong(frame(h2.HEADERS, WHOLE | PADDED, 1, "\x0412")),
  "frames: HEADERS without room for a priority": wrong(frame(h2.HEADERS, WHOLE | PRIORITY, 1, "\0\0")),
  "frames: CONTINUATION of nothing": wrong(frame(h2.CONTINUATION, END_HEADERS, 1, "")),
  "frames: CONTINUATION of another stream": wrong(
    frame(h2.HEADERS, END_STREAM, 1, block([":method: GET"])) + frame(h2.CONTINUATION, END_HEADERS, 3, ""),
  ),
  "frames: PING within a block": wrong(
    frame(h2.HEADERS, END_STREAM, 1, block([":method: GET"])) + frame(h2.PING, 0, 0, "12345678"),
  ),
  "frames: PRIORITY of a wrong length": wrong(frame(h2.PRIORITY, 0, 1, "1234")),
  "frames: PRIORITY on stream 0": wrong(frame(h2.PRIORITY, 0, 0, "\0\0\0\0\0")),
  "frames: PRIORITY that depends on itself": wrong(frame(h2.PRIORITY, 0, 1, "\0\0\0\x01\0")),
  "frames: RST_STREAM of a wrong length": wrong(frame(h2.RST_STREAM, 0, 1, "123")),
  "frames: RST_STREAM on stream 0": wrong(h2.rstStream(0, 0)),
  "frames: RST_STREAM on an idle stream": idle(h2.rstStream(1, 0)),
  "frames: SETTINGS of a wrong length": wrong(frame(h2.SETTINGS, 0, 0, "12345")),
  "frames: SETTINGS on a stream": wrong(frame(h2.SETTINGS, 0, 1, "")),
  "frames: SETTINGS ACK with a payload": wrong(frame(h2.SETTINGS, h2.FLAG.ACK, 0, "123456")),
  "frames: a window beyond all": wrong(h2.settingsFrame([[4, 0x80000000]])),
  "frames: a frame size beyond all": wrong(h2.settingsFrame([[5, 0x1000000]])),
  "frames: too small a frame size": wrong(h2.settingsFrame([[5, 100]])),
  "frames: a push that is neither": wrong(h2.settingsFrame([[2, 2]])),
  "frames: PUSH_PROMISE": wrong(frame(h2.PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\x02")),
  "frames: PING of a wrong length": wrong(frame(h2.PING, 0, 0, "1234567")),
  "frames: PING on a stream": wrong(frame(h2.PING, 0, 1, "12345678")),
  "frames: GOAWAY on a stream": wrong(frame(h2.GOAWAY, 0, 1, "12345678")),
  "frames: GOAWAY of a wrong length": wrong(frame(h2.GOAWAY, 0, 0, "1234567")),
  "frames: WINDOW_UPDATE of a wrong length": wrong(frame(h2.WINDOW_UPDATE, 0, 0, "123")),
  "frames: WINDOW_UPDATE of 0": wrong(h2.windowUpdate(0, 0)),
  "frames: WINDOW_UPDATE of 0 on a stream": leaving(
    get("/silent"),
    asked("GET /silent"),
    h2.windowUpdate(1, 0),
    ended(1),
  ),
  "frames: WINDOW_UPDATE too far": wrong(h2.windowUpdate(0, 0x7fffffff)),
  "frames: WINDOW_UPDATE too far on a stream": leaving(
    get("/silent"),
    asked("GET /silent"),
    h2.windowUpdate(1, 0x7fffffff),
    ended(1),
  ),
  "frames: WINDOW_UPDATE too far, within a body": leaving(
    request(1, "POST", "/read", [], END_HEADERS),
    h2.windowUpdate(1, 0x7fffffff),
    ended(1),
  ),
  "frames: WINDOW_UPDATE on an idle stream": idle(h2.windowUpdate(1, 1)),
  "frames: one that is unknown": plain(frame(0x77, 0xff, 0, "what") + get("/")),
  "frames: several that are unknown": plain(frame(0x77, 0xff, 0, "what").repeat(3) + get("/")),
  "blocks: an index of nothing": wrong(coded("\x80")),
  "blocks: an index that there is not": wrong(coded("\xff\x10")),
  "blocks: a field that is cut off": wrong(coded("\x00\x07exam")),
  "blocks: a name of nothing": wrong(coded("\x00\x00\x01a")),
  "blocks: a bad code": wrong(coded("\x00\x84\xff\xff\xff\xff\x01a")),
  "blocks: a long integer": wrong(coded("\xff\xff\xff\xff\xff\xff\x01")),
  "blocks: a long length": wrong(coded("\x00\x7f\xff\xff\xff\xff\x01")),
  "blocks: a table's size behind a field": idle(coded("\x82\x20")),
  "blocks: a table's size that is more": wrong(coded("\x3f\xe2\x1f")),
  "blocks: a table's size": plain(frame(h2.HEADERS, WHOLE, 1, `\x20${block(ROOT)}`)),
  "blocks: behind fields": wrong(frame(h2.HEADERS, WHOLE, 1, `${block([...ROOT, "x: 1"])}\x80`)),
};

const IDLE = "RFC 9113 section 5.1 has a connection error";
/** What is meant to differ. */
const OTHERS = {
  "frames: DATA on an idle stream": IDLE,
  "frames: RST_STREAM on an idle stream": IDLE,
  "frames: WINDOW_UPDATE on an idle stream": IDLE,
  "frames: several that are unknown": "a client could fill the disk with them",
  "blocks: a table's size behind a field": "RFC 7541 section 4.2 has it at the beginning of a block",
};

test("requests and frames of clients", (t) =>
  compareClients(t, { name: "http2_requests", hosts: HOSTS, config, cases: CASES, others: OTHERS }));
