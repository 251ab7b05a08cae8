import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { type TestContext, test } from "node:test";
import { tcpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { send } from "../support/tcp.ts";

/** The same requests to Holdfast and to nginx, with the same configuration and the same server behind them. */

interface Scenario {
  readonly name: string;
  /** Directives of its location, which has a cache. */
  readonly location?: string;
  /** Further lines of the server block; BACK is `proxy_pass` to the server. */
  readonly server?: string;
  /** What the server answers to its first request, its second …; the last from then on. "": it closes the connection. */
  readonly answers: readonly string[];
  /** `METHOD /path`, and fields of the request. The path is below the scenario's location. */
  readonly requests: readonly (string | readonly [line: string, ...fields: string[]])[];
}

/** Stored, and no longer fresh. */
const STALE = "X-Accel-Expires: @1";
const FRESH = "Cache-Control: max-age=100";
const DATE = "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT";

function answer(body: string, ...fields: string[]): string {
  return withStatus("200 OK", body, ...fields);
}

function withStatus(status: string, body: string, ...fields: string[]): string {
  const [first = ""] = fields;
  const framing =
    first === "close" || first === "chunked" ? fields.slice(1) : [`Content-Length: ${body.length}`, ...fields];
  if (first === "chunked") framing.push("Transfer-Encoding: chunked");
  const text = first === "chunked" ? `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n` : body;
  return [`HTTP/1.1 ${status}`, ...framing, "Connection: close", "", text].join("\r\n");
}

/** Bytes of ten. */
function slice(body: string, start: number, ...fields: string[]): string {
  const range = `Content-Range: bytes ${start}-${start + body.length - 1}/10`;
  return withStatus("206 Partial Content", body, range, ...(fields.length > 0 ? fields : ['ETag: "a"']));
}

const SLICED =
  "slice 4; proxy_cache_key $uri$slice_range; proxy_set_header Connection close; proxy_set_header Range $slice_range; proxy_cache_valid 200 206 1m;";

const G = "GET /";
const CONFIRMED = withStatus("304 Not Modified", "");

const SCENARIOS: readonly Scenario[] = [
  {
    name: "valid",
    location: "proxy_cache_valid 200 1m;",
    answers: [answer("1"), answer("2")],
    requests: [G, G, "HEAD /", G],
  },
  { name: "not-valid", answers: [answer("1"), answer("2")], requests: [G, G] },
  {
    name: "valid-any",
    location: "proxy_cache_valid 404 1m; proxy_cache_valid any 1m;",
    answers: [withStatus("404 Not Found", "no"), withStatus("500 Oh", "oh")],
    requests: [G, G],
  },
  {
    name: "valid-redirect",
    location: "proxy_cache_valid 1m;",
    answers: [withStatus("302 Found", "", "Location: http://elsewhere/"), answer("2")],
    requests: [G, G],
  },
  {
    name: "no-content",
    location: "proxy_cache_valid any 1m;",
    answers: ["HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"],
    requests: [G, G, "HEAD /"],
  },
  {
    name: "not-204",
    location: "proxy_cache_valid 200 1m;",
    answers: ["HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"],
    requests: [G, G],
  },
  // The fields of the answer.
  ...[
    "Cache-Control: max-age=60",
    "Cache-Control: max-age=0",
    "Cache-Control: max-age=",
    "Cache-Control: max-age=5x",
    "Cache-Control: max-age=4294967297",
    "Cache-Control: max-age=9223372036854775808",
    "Cache-Control: s-maxage=0, max-age=60",
    "Cache-Control: max-age=0, s-maxage=60",
    "Cache-Control: MAX-AGE=60",
    "Cache-Control: no-cache",
    "Cache-Control: no-store, max-age=60",
    "Cache-Control: Private, max-age=60",
    "Cache-Control: max-age=60, must-revalidate",
    "Cache-Control: max-age=60, stale-while-revalidate=x",
    "Cache-Control: max-age=60, stale-if-error=x",
    "Cache-Control: public",
    "Expires: Thu, 01 Jan 2099 00:00:00 GMT",
    "Expires: Thu, 01 Jan 2015 00:00:00 GMT",
    "Expires: 0",
    "X-Accel-Expires: 60",
    "X-Accel-Expires: 0",
    "X-Accel-Expires: @0",
    "X-Accel-Expires: @1",
    "X-Accel-Expires: @9999999999",
    "X-Accel-Expires: x",
    "X-Accel-Expires: ",
    "Set-Cookie: a=b",
    "Vary: *",
    `Vary: ${"x".repeat(128)}`,
    `Vary: ${"x".repeat(129)}`,
    "Pragma: no-cache",
    "Age: 1000",
  ].flatMap((field, i) => [
    { name: `field-${i}`, answers: [answer("1", field), answer("2", field)], requests: [G, G] },
    {
      name: `field-valid-${i}`,
      location: "proxy_cache_valid any 1m;",
      answers: [answer("1", field), answer("2", field)],
      requests: [G, G],
    },
    {
      name: `field-ignored-${i}`,
      location: "proxy_cache_valid any 1m; proxy_ignore_headers Cache-Control Expires X-Accel-Expires Set-Cookie Vary;",
      answers: [answer("1", field), answer("2", field)],
      requests: [G, G],
    },
  ]),
  // Their order.
  ...[
    ["X-Accel-Expires: 60", "Cache-Control: no-cache"],
    ["Cache-Control: no-cache", "X-Accel-Expires: 60"],
    ["X-Accel-Expires: 0", "Cache-Control: max-age=60"],
    ["Expires: Thu, 01 Jan 2015 00:00:00 GMT", "Cache-Control: max-age=60"],
    ["Cache-Control: max-age=60", "Expires: Thu, 01 Jan 2015 00:00:00 GMT"],
    ["Expires: Thu, 01 Jan 2099 00:00:00 GMT", "Cache-Control: no-cache"],
    ["Cache-Control: no-cache", "Expires: Thu, 01 Jan 2099 00:00:00 GMT"],
    ["X-Accel-Expires: @1", "Cache-Control: max-age=60"],
    ["X-Accel-Expires: x", "Cache-Control: max-age=60"],
    ["X-Accel-Expires: 60", "X-Accel-Expires: 0"],
    ["Cache-Control: max-age=60", "Cache-Control: no-store"],
    ["Cache-Control: public", "Cache-Control: max-age=60"],
    ["Vary: X-A", "Vary: X-B", FRESH],
    ["X-Accel-Expires: @0", "Cache-Control: max-age=60"],
    ["Cache-Control: max-age=60", "X-Accel-Expires: @0"],
  ].map((fields, i) => ({
    name: `order-${i}`,
    location: "proxy_cache_valid any 1m;",
    answers: [answer("1", ...fields), answer("2", ...fields)],
    requests: [G, G],
  })),
  // Confirmed by 304.
  {
    name: "revalidate",
    location: "proxy_cache_revalidate on;",
    answers: [answer("1", STALE, 'ETag: "a"', DATE), withStatus("304 Not Modified", "", FRESH), answer("3")],
    requests: [G, G, G, ["GET /", 'If-None-Match: "a"']],
  },
  {
    name: "revalidate-anew",
    location: "proxy_cache_revalidate on; proxy_cache_valid 200 1m;",
    answers: [answer("1", STALE, DATE), CONFIRMED, answer("3")],
    requests: [G, G, G],
  },
  {
    name: "revalidate-no-cache",
    location: "proxy_cache_revalidate on;",
    answers: [
      answer("1", STALE, 'ETag: "a"'),
      withStatus("304 Not Modified", "", "Cache-Control: no-cache"),
      withStatus("304 Not Modified", "", "Set-Cookie: a=b", FRESH),
      answer("3"),
    ],
    requests: [G, G, G, G],
  },
  {
    name: "revalidate-weak",
    location: "proxy_cache_revalidate on;",
    answers: [answer("1", STALE, 'ETag: W/"a"'), answer("2", FRESH)],
    requests: [G, G, G],
  },
  {
    name: "revalidate-bad-date",
    location: "proxy_cache_revalidate on;",
    answers: [answer("1", STALE, "Last-Modified: yesterday"), answer("2", FRESH)],
    requests: [G, G, G],
  },
  {
    name: "revalidate-404",
    location: "proxy_cache_revalidate on;",
    answers: [withStatus("404 Not Found", "1", STALE, 'ETag: "a"'), answer("2", FRESH)],
    requests: [G, G, G],
  },
  {
    name: "revalidate-off",
    answers: [answer("1", STALE, 'ETag: "a"'), CONFIRMED, answer("3", FRESH)],
    requests: [["GET /", 'If-None-Match: "b"'], ["GET /", 'If-None-Match: "a"'], G],
  },
  {
    name: "revalidate-range",
    location: "proxy_cache_revalidate on;",
    answers: [
      answer("0123456789", STALE, 'ETag: "a"', "Accept-Ranges: bytes"),
      withStatus("304 Not Modified", "", FRESH),
    ],
    requests: [G, ["GET /", "Range: bytes=2-4"], ["GET /", "Range: bytes=3-5"]],
  },
  {
    name: "revalidate-head",
    location: "proxy_cache_revalidate on;",
    answers: [answer("1", STALE, 'ETag: "a"'), withStatus("304 Not Modified", "", FRESH)],
    requests: ["HEAD /", "HEAD /", "HEAD /", G],
  },
  // In place of errors.
  ...[
    ["off", ""],
    ["error", ""],
    ["error", withStatus("500 Oh", "oh")],
    ["invalid_header", "nonsense\r\n\r\n"],
    ["error", "nonsense\r\n\r\n"],
    ...["500", "502", "503", "504", "403", "404", "429"].map((code) => [`http_${code}`, withStatus(`${code} X`, "x")]),
    ["http_500", withStatus("501 X", "x")],
    ["updating", ""],
  ].flatMap(([condition, second], i) => [
    {
      name: `use-stale-${i}`,
      location: `proxy_cache_use_stale ${condition};`,
      answers: [answer("1", STALE), second, second, answer("3", FRESH)],
      requests: [G, G, G, G, G],
    },
    {
      name: `stale-if-error-${i}`,
      location: `proxy_cache_use_stale ${condition};`,
      answers: [answer("1", STALE, "Cache-Control: stale-if-error=9999999999"), second, second, answer("3", FRESH)],
      requests: [G, G, G, G, G],
    },
  ]),
  {
    name: "stale-range",
    location: "proxy_cache_use_stale error;",
    answers: [answer("0123456789", STALE, "Accept-Ranges: bytes"), ""],
    requests: [G, ["GET /", "Range: bytes=2-4"], ["GET /", "Range: bytes=-3"], ["GET /", "Range: bytes=20-"]],
  },
  {
    name: "stale-conditional",
    location: "proxy_cache_use_stale http_503;",
    answers: [answer("1", STALE, DATE), withStatus("503 X", "x")],
    requests: [G, ["GET /", "If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT"]],
  },
  {
    name: "stale-then-fresh",
    location: "proxy_cache_use_stale error; proxy_cache_valid 200 1m;",
    answers: [answer("1", STALE), "", answer("2"), answer("3")],
    requests: [G, G, G, G],
  },
  // While it is updated.
  {
    name: "background",
    location: "proxy_cache_use_stale updating; proxy_cache_background_update on;",
    answers: [answer("1", STALE), answer("2", FRESH), answer("3")],
    requests: [G, G, G],
  },
  {
    name: "background-revalidate",
    location: "proxy_cache_use_stale updating; proxy_cache_background_update on; proxy_cache_revalidate on;",
    answers: [answer("1", STALE, 'ETag: "a"'), withStatus("304 Not Modified", "", FRESH), answer("3")],
    requests: [G, G, G],
  },
  {
    name: "background-error",
    location: "proxy_cache_use_stale updating; proxy_cache_background_update on;",
    answers: [answer("1", STALE), "", withStatus("500 Oh", "oh"), answer("2", FRESH)],
    requests: [G, G, G, G, G],
  },
  {
    name: "background-kept-no-more",
    location: "proxy_cache_use_stale updating; proxy_cache_background_update on;",
    answers: [answer("1", STALE), answer("2", "Cache-Control: no-store"), answer("3", FRESH)],
    requests: [G, G, G, G],
  },
  {
    name: "background-page",
    location:
      "proxy_cache_use_stale updating; proxy_cache_background_update on; proxy_intercept_errors on; error_page 500 = @page;",
    answers: [answer("1", STALE), withStatus("500 Oh", "oh"), answer("2", FRESH)],
    requests: [G, G, G, G],
  },
  {
    name: "while-revalidate",
    location: "proxy_cache_background_update on;",
    answers: [answer("1", STALE, "Cache-Control: stale-while-revalidate=9999999999"), answer("2", FRESH)],
    requests: [G, G, G],
  },
  {
    name: "while-revalidate-head",
    location: "proxy_cache_background_update on;",
    answers: [answer("1", STALE, "Cache-Control: stale-while-revalidate=9999999999"), answer("2", FRESH)],
    requests: [G, "HEAD /", G],
  },
  {
    name: "while-revalidate-range",
    location: "proxy_cache_background_update on;",
    answers: [
      answer("0123456789", STALE, "Accept-Ranges: bytes", "Cache-Control: stale-while-revalidate=9999999999"),
      answer("abcdefghij", "Accept-Ranges: bytes", FRESH),
    ],
    requests: [G, ["GET /", "Range: bytes=1-2"], ["GET /", "Range: bytes=1-2"]],
  },
  {
    name: "while-revalidate-foreground",
    answers: [answer("1", STALE, "Cache-Control: stale-while-revalidate=9999999999"), "", answer("2", FRESH)],
    requests: [G, G, G, G],
  },
  // What decides whether it is asked, or kept.
  {
    name: "min-uses",
    location: "proxy_cache_min_uses 3; proxy_cache_valid 1m;",
    answers: [answer("1"), answer("2"), answer("3"), answer("4")],
    requests: [G, G, G, G, G],
  },
  {
    name: "bypass",
    location: "proxy_cache_valid 1m; proxy_cache_bypass $http_x_by $arg_by;",
    answers: [answer("1"), answer("2"), answer("3"), answer("4")],
    requests: [G, ["GET /", "X-By: 1"], G, ["GET /", "X-By: 0"], "GET /?by=1", "GET /"],
  },
  {
    name: "no-cache",
    location: "proxy_cache_valid 1m; proxy_no_cache $http_x_no;",
    answers: [answer("1"), answer("2"), answer("3")],
    requests: [["GET /", "X-No: 1"], G, ["GET /", "X-No: 1"], G],
  },
  {
    name: "bypass-no-cache",
    location: "proxy_cache_valid 1m; proxy_no_cache $http_x_by; proxy_cache_bypass $http_x_by;",
    answers: [answer("1"), answer("2"), answer("3")],
    requests: [G, ["GET /", "X-By: 1"], G],
  },
  {
    name: "post",
    location: "proxy_cache_valid 1m; proxy_cache_methods POST; proxy_cache_key $request_method$uri$request_body;",
    answers: [answer("1"), answer("2"), answer("3")],
    requests: ["POST /", "POST /", G],
  },
  {
    name: "not-post",
    location: "proxy_cache_valid 1m;",
    answers: [answer("1"), answer("2")],
    requests: ["POST /", "POST /", "DELETE /"],
  },
  {
    name: "head-first",
    location: "proxy_cache_valid 1m;",
    answers: [answer("1"), answer("2")],
    requests: ["HEAD /", G],
  },
  {
    name: "convert-head-off",
    location: "proxy_cache_valid 1m; proxy_cache_convert_head off; proxy_cache_key $request_method$uri;",
    answers: ["HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n", answer("2")],
    requests: ["HEAD /", "HEAD /", G, G],
  },
  {
    name: "off",
    location: "proxy_cache $arg_zone; proxy_cache_valid 1m;",
    answers: [answer("1"), answer("2"), answer("3")],
    requests: ["GET /?zone=one", "GET /?zone=one", "GET /?zone=off", "GET /?zone=", "GET /?zone=none"],
  },
  {
    name: "key",
    location: "proxy_cache_key $uri; proxy_cache_valid 1m;",
    answers: [answer("1"), answer("2")],
    requests: ["GET /?a", "GET /?b"],
  },
  // Ranges.
  {
    name: "range",
    location: "proxy_cache_valid 1m;",
    answers: [answer("0123456789", "Accept-Ranges: bytes", 'ETag: "a"')],
    requests: [
      ["GET /", "Range: bytes=2-4"],
      ["GET /", "Range: bytes=2-4"],
      ["GET /", "Range: bytes=2-4", 'If-Range: "a"'],
      ["GET /", "Range: bytes=2-4", 'If-Range: "b"'],
      ["GET /", "Range: bytes=20-40"],
      ["GET /", "Range: bytes=-4"],
      ["HEAD /", "Range: bytes=2-4"],
    ],
  },
  {
    name: "range-refused",
    location: "proxy_cache_valid 1m;",
    answers: [answer("0123456789")],
    requests: [
      ["GET /", "Range: bytes=2-4"],
      ["GET /", "Range: bytes=2-4"],
    ],
  },
  {
    name: "force-ranges",
    location: "proxy_cache_valid 1m; proxy_force_ranges on;",
    answers: [answer("0123456789")],
    requests: [
      ["GET /", "Range: bytes=2-4"],
      ["GET /", "Range: bytes=2-4"],
    ],
  },
  ...["0", "4", "10"].map((offset) => ({
    name: `max-range-offset-${offset}`,
    location: `proxy_cache_valid 200 206 1m; proxy_cache_max_range_offset ${offset};`,
    answers: [
      answer("0123456789", "Accept-Ranges: bytes"),
      withStatus("206 Partial Content", "56", "Content-Range: bytes 5-6/10"),
    ],
    requests: [
      ["GET /a", "Range: bytes=5-6"] as const,
      ["GET /a", "Range: bytes=-2"] as const,
      ["GET /a", "Range: bytes=3-6"] as const,
      ["GET /a", "Range: bytes=-3"] as const,
      ["GET /a", "Range: items=1"] as const,
      "GET /a",
    ],
  })),
  {
    name: "partial",
    location: "proxy_cache_valid 206 1m;",
    answers: [withStatus("206 Partial Content", "234", "Content-Range: bytes 2-4/10", "Accept-Ranges: bytes")],
    requests: [["GET /", "Range: bytes=2-4"], ["GET /", "Range: bytes=2-4"], G],
  },
  {
    name: "partial-key",
    location:
      "proxy_cache_valid 206 1m; proxy_cache_key $uri$http_range; proxy_set_header Connection close; proxy_set_header Range $http_range;",
    answers: [withStatus("206 Partial Content", "234", "Content-Range: bytes 2-4/10"), answer("0123456789")],
    requests: [["GET /", "Range: bytes=2-4"], ["GET /", "Range: bytes=2-4"], G],
  },
  // Conditions of the client.
  {
    name: "conditional",
    location: "proxy_cache_valid 1m;",
    answers: [answer("1", 'ETag: "a"', DATE)],
    requests: [
      ["GET /", 'If-None-Match: "a"'],
      ["GET /", 'If-None-Match: "a"'],
      ["GET /", 'If-None-Match: "b"'],
      ["GET /", "If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT"],
      ["GET /", 'If-Match: "b"'],
      ["GET /", "If-Unmodified-Since: Thu, 01 Jan 2015 00:00:00 GMT"],
      ["HEAD /", 'If-None-Match: "a"'],
    ],
  },
  // Vary.
  {
    name: "vary",
    location: "proxy_cache_valid 1m;",
    answers: [answer("1", "Vary: X-A"), answer("2", "Vary: X-A"), answer("3", "Vary: X-A")],
    requests: [
      ["GET /", "X-A: 1"],
      ["GET /", "X-A: 2"],
      ["GET /", "X-A: 1"],
      ["GET /", "X-A: 2"],
      ["GET /", "X-A: 1", "X-A: 2"],
      ["GET /", "X-A: 1,2"],
    ],
  },
  {
    name: "vary-normalized",
    location: "proxy_cache_valid 1m;",
    answers: [
      answer("1", "Vary: Accept-Encoding"),
      answer("2", "Vary: Accept-Encoding"),
      answer("3", "Vary: Accept-Encoding"),
    ],
    requests: [
      ["GET /", "Accept-Encoding: gzip,deflate"],
      ["GET /", "Accept-Encoding: gzip , deflate"],
      ["GET /", "Accept-Encoding: ,gzip", "Accept-Encoding: deflate,,"],
      ["GET /", "Accept-Encoding: deflate, gzip"],
      G,
    ],
  },
  {
    name: "vary-changes",
    location: "proxy_cache_valid 1m;",
    answers: [
      answer("1", "Vary: X-A"),
      answer("2", "Vary: X-B"),
      answer("3", "Vary: X-A, X-B"),
      answer("4", "Vary: X-A, X-B"),
      answer("5"),
      answer("6", "Vary: X-A"),
    ],
    requests: [
      ["GET /", "X-A: 1", "X-B: 1"],
      ["GET /", "X-A: 2", "X-B: 1"],
      ["GET /", "X-A: 1", "X-B: 1"],
      ["GET /", "X-A: 1", "X-B: 2"],
      ["GET /", "X-A: 2", "X-B: 2"],
      ["GET /", "X-A: 1", "X-B: 2"],
      ["GET /", "X-A: 2", "X-B: 2"],
      ["GET /", "X-A: 3", "X-B: 3"],
      ["GET /", "X-A: 4", "X-B: 4"],
      G,
    ],
  },
  {
    name: "vary-stale",
    location: "proxy_cache_revalidate on;",
    answers: [
      answer("1", "Vary: X-A", STALE, 'ETag: "1"'),
      answer("2", "Vary: X-A", STALE, 'ETag: "2"'),
      withStatus("304 Not Modified", "", FRESH),
      withStatus("304 Not Modified", "", FRESH, "Vary: X-B"),
      answer("5"),
    ],
    requests: [
      ["GET /", "X-A: 1"],
      ["GET /", "X-A: 2"],
      ["GET /", "X-A: 2"],
      ["GET /", "X-A: 1"],
      ["GET /", "X-A: 1"],
      ["GET /", "X-A: 2"],
    ],
  },
  {
    name: "vary-bypass",
    location: "proxy_cache_valid 1m; proxy_cache_bypass $http_x_by;",
    answers: [answer("1", "Vary: X-A"), answer("2", "Vary: X-A"), answer("3", "Vary: X-A"), answer("4", "Vary: X-A")],
    requests: [
      ["GET /", "X-A: 1"],
      ["GET /", "X-A: 2"],
      ["GET /", "X-A: 2", "X-By: 1"],
      ["GET /", "X-A: 1"],
      ["GET /", "X-A: 2"],
    ],
  },
  // Errors.
  {
    name: "negative",
    location: "proxy_cache_valid 502 1m;",
    answers: ["", answer("2", FRESH)],
    requests: [G, G],
  },
  {
    name: "negative-page",
    location: "proxy_cache_valid 502 1m; error_page 502 @page;",
    answers: ["", answer("2", FRESH)],
    requests: [G, G],
  },
  {
    name: "intercepted",
    location: "proxy_cache_valid 404 1m; proxy_intercept_errors on; error_page 404 @page;",
    answers: [withStatus("404 Not Found", "no"), answer("2", FRESH)],
    requests: [G, G, G],
  },
  {
    name: "intercepted-field",
    location: "proxy_intercept_errors on; error_page 404 @page;",
    answers: [withStatus("404 Not Found", "no", FRESH), answer("2", FRESH)],
    requests: [G, G, G],
  },
  {
    name: "intercepted-no-store",
    location: "proxy_cache_valid 404 1m; proxy_intercept_errors on; error_page 404 @page;",
    answers: [withStatus("404 Not Found", "no", "Cache-Control: no-store"), answer("2", FRESH)],
    requests: [G, G, G],
  },
  {
    name: "next",
    location: "proxy_cache_valid 1m; proxy_next_upstream http_503; proxy_pass http://two;",
    answers: [withStatus("503 X", "x", "Set-Cookie: a=b", "Cache-Control: no-store"), answer("2"), answer("3")],
    requests: [G],
  },
  // Framing.
  {
    name: "chunked",
    location: "proxy_cache_valid 1m;",
    answers: [answer("chunks", "chunked")],
    requests: [G, G, "HEAD /", ["GET /", "Range: bytes=0-1"]],
  },
  {
    name: "until-close",
    location: "proxy_cache_valid 1m;",
    answers: [answer("till the end", "close")],
    requests: [G, G],
  },
  {
    name: "cut-short",
    location: "proxy_cache_valid 1m;",
    answers: ["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123", answer("2")],
    requests: [G, G],
  },
  {
    name: "cut-short-chunked",
    location: "proxy_cache_valid 1m;",
    answers: ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123", answer("2")],
    requests: [G, G],
  },
  {
    name: "too-long",
    location: "proxy_cache_valid 1m;",
    answers: ["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n0123456789", answer("2")],
    requests: [G, G],
  },
  { name: "http-0.9", location: "proxy_cache_valid any 1m;", answers: ["<html>old</html>"], requests: [G, G] },
  { name: "http-1.0", location: "proxy_cache_valid 1m;", answers: ["HTTP/1.0 200 OK\r\n\r\nold"], requests: [G, G] },
  { name: "empty", location: "proxy_cache_valid 1m;", answers: [answer("")], requests: [G, G] },
  {
    name: "own-status",
    location: "proxy_cache_valid any 1m;",
    answers: [withStatus("299 Fine So Far", "1")],
    requests: [G, G],
  },
  {
    name: "unbuffered",
    location: "proxy_cache_valid 1m; proxy_buffering off;",
    answers: [answer("1"), answer("2")],
    requests: [G, G],
  },
  {
    name: "accel-buffering",
    location: "proxy_cache_valid 1m;",
    answers: [answer("1", "X-Accel-Buffering: no"), answer("2")],
    requests: [G, G, G],
  },
  {
    name: "accel-redirect",
    location: "proxy_cache_valid 1m;",
    answers: [answer("1", "X-Accel-Redirect: @page"), answer("2")],
    requests: [G, G, G],
  },
  // Fields that come out of the cache.
  {
    name: "fields",
    location: "proxy_cache_valid 1m; proxy_hide_header X-Hidden; proxy_pass_header Server;",
    answers: [
      answer(
        "1",
        "Content-Type: text/x; charset=utf-8",
        "X-Hidden: 1",
        "X-Two: a",
        "X-Two: b",
        "Server: S",
        "Content-Language: en",
        "Keep-Alive: timeout=5",
        "Date: Thu, 01 Jan 2026 00:00:00 GMT",
        "Content-Disposition: attachment",
        "X-Accel-Charset: koi8-r",
      ),
    ],
    requests: [G, G],
  },
  {
    name: "redirect",
    location:
      "proxy_cache_valid any 1m; proxy_redirect http://back/ /front/; proxy_cookie_domain a b; proxy_ignore_headers Set-Cookie;",
    answers: [withStatus("301 Moved", "", "Location: http://back/x", "Set-Cookie: a=b; domain=a")],
    requests: [G, G],
  },
  {
    name: "gzip",
    location: "proxy_cache_valid 1m; gzip on; gzip_min_length 1; gzip_types text/x; gzip_proxied any;",
    answers: [answer("x".repeat(1000), "Content-Type: text/x", 'ETag: "a"')],
    requests: [G, ["GET /", "Accept-Encoding: gzip"], G],
  },
  // Slices.
  ...[SLICED, `${SLICED} proxy_cache_revalidate on;`, `${SLICED} proxy_cache_bypass $http_x_by;`].map(
    (location, i) => ({
      name: `slice-${i}`,
      location,
      answers: [slice("0123", 0), slice("4567", 4), slice("89", 8), slice("abcd", 0), slice("efgh", 4), slice("ij", 8)],
      requests: [
        "GET /",
        "GET /",
        "HEAD /",
        ["GET /", "Range: bytes=5-6"] as const,
        ["GET /", "Range: bytes=-1"] as const,
        ["GET /", "X-By: 1"] as const,
        "GET /",
      ],
    }),
  ),
  {
    name: "slice-stale",
    location: `${SLICED} proxy_cache_revalidate on;`,
    answers: [
      slice("0123", 0, STALE, `ETag: "a"`),
      slice("4567", 4),
      slice("89", 8, STALE, `ETag: "a"`),
      withStatus("304 Not Modified", "", FRESH),
      withStatus("304 Not Modified", "", FRESH),
    ],
    requests: ["GET /", "GET /", "GET /"],
  },
  {
    name: "slice-range-first",
    location: SLICED,
    answers: [slice("4567", 4), slice("0123", 0), slice("89", 8)],
    requests: [["GET /", "Range: bytes=5-6"], ["GET /", "Range: bytes=4-7"], ["GET /", "Range: bytes=2-8"], "GET /"],
  },
  {
    name: "slice-changed",
    location: SLICED,
    answers: [slice("0123", 0, 'ETag: "a"'), slice("4567", 4, 'ETag: "b"')],
    requests: [["GET /", "Range: bytes=0-2"], "GET /"],
  },
  // Subrequests.
  {
    name: "ssi",
    location: "proxy_cache_valid 1m; ssi on; ssi_types text/x;",
    answers: [
      answer('<!--#include virtual="/ssi/part" --> <!--#include virtual="/ssi/part" -->', "Content-Type: text/x"),
      answer("part"),
    ],
    requests: [G, G, "GET /part"],
  },
  {
    name: "ssi-stale",
    location: "proxy_cache_use_stale error; ssi on; ssi_types text/x;",
    answers: [
      answer('<!--#include virtual="/ssi-stale/part" -->', "Content-Type: text/x", FRESH),
      answer("part", STALE),
      "",
    ],
    requests: [G, G, "GET /part"],
  },
  {
    name: "ssi-background",
    location: "proxy_cache_use_stale updating; proxy_cache_background_update on; ssi on; ssi_types text/x;",
    answers: [
      answer('<!--#include virtual="/ssi-background/part" -->', "Content-Type: text/x", FRESH),
      answer("part", STALE),
      answer("new part", FRESH),
    ],
    requests: [G, G, G, "GET /part"],
  },
  {
    name: "auth",
    location: "proxy_cache_valid 1m; auth_request /auth/auth;",
    server: "location = /auth/auth { BACK; proxy_cache one; proxy_cache_key auth; proxy_cache_valid 200 401 1m; }",
    answers: [answer(""), answer("1"), answer("2")],
    requests: [G, G, "GET /other"],
  },
  {
    name: "auth-refused",
    location: "proxy_cache_valid 1m; auth_request /auth-refused/auth;",
    server:
      "location = /auth-refused/auth { BACK; proxy_cache one; proxy_cache_key no; proxy_cache_valid 200 401 1m; }",
    answers: [withStatus("401 No", "", "WWW-Authenticate: Basic"), answer("1")],
    requests: [G, G],
  },
  {
    name: "mirror",
    location: "proxy_cache_valid 1m; mirror /mirrored/;",
    server: "location /mirrored/ { internal; BACK; proxy_cache one; proxy_cache_key mirror; proxy_cache_valid 1m; }",
    answers: [answer("1"), answer("2")],
    requests: [G, G],
  },
  {
    name: "accel-inside",
    location: "proxy_cache_valid 1m;",
    server:
      "location /inside/ { internal; BACK/accel-inside/; proxy_cache one; proxy_cache_key inside; proxy_cache_valid 1m; }",
    answers: [answer("1", "X-Accel-Redirect: /inside/x"), answer("2"), answer("3", "X-Accel-Redirect: /inside/x")],
    requests: [G, G],
  },
  {
    name: "accel-ignored",
    location: "proxy_cache_valid 1m; proxy_ignore_headers X-Accel-Redirect X-Accel-Limit-Rate;",
    answers: [answer("1", "X-Accel-Redirect: /inside/x", "X-Accel-Limit-Rate: 1")],
    requests: [G, G],
  },
  {
    name: "error-page-cached",
    location: "proxy_intercept_errors on; error_page 503 =200 /error-page-cached-page/; proxy_cache_valid 503 1m;",
    server:
      "location /error-page-cached-page/ { BACK/error-page-cached/; proxy_cache one; proxy_cache_key page; proxy_cache_valid 1m; }",
    answers: [withStatus("503 X", "x"), answer("page"), answer("3")],
    requests: [G, G, G],
  },
  {
    name: "limit-rate",
    location: "proxy_cache_valid 1m; limit_rate 100k; proxy_limit_rate 100k;",
    answers: [answer("x".repeat(1000))],
    requests: [G, G],
  },
  {
    name: "long",
    location: "proxy_cache_valid 1m;",
    answers: [answer("x".repeat(200_000))],
    requests: [G, G, ["GET /", "Range: bytes=199990-"]],
  },
  {
    name: "sub-filter",
    location: "proxy_cache_valid 1m; sub_filter a b; sub_filter_types text/x;",
    answers: [answer("aaa", "Content-Type: text/x", DATE)],
    requests: [G, G, "HEAD /"],
  },
  {
    name: "expires",
    location: "proxy_cache_valid 1m; expires epoch; add_header X-More 1;",
    answers: [answer("1", "Expires: Thu, 01 Jan 2099 00:00:00 GMT")],
    requests: [G, G],
  },
  {
    name: "long-key",
    location: "proxy_cache_valid 1m;",
    answers: [answer("1"), answer("2")],
    requests: [`GET /${"x".repeat(3000)}`, `GET /${"x".repeat(3000)}`],
  },
  {
    name: "variables",
    location:
      "proxy_cache_valid 1m; proxy_cache_revalidate on; add_header X-Of $upstream_http_x_own; add_header X-Date $upstream_cache_last_modified; add_header X-Status $upstream_status;",
    answers: [answer("1", "X-Own: 1", DATE, STALE), withStatus("304 Not Modified", "", "X-Own: 2", FRESH)],
    requests: [G, G, G],
  },
];

/** Where nginx before 1.23 does something else: fields in another order than their meaning, delta-seconds that are too large. */
const CHANGED = [/^(?:field|field-valid)-5$/, /^order-[139]$/, /^stale-if-error-(?:0|13)$/, /^while-revalidate/];

/** The number after "1." of nginx's version. */
function minorVersion(): number {
  const env = { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/usr/local/sbin` };
  const { stderr } = spawnSync("nginx", ["-v"], { encoding: "latin1", env });
  return Number(/nginx\/1\.(\d+)/.exec(stderr)?.[1] ?? 0);
}

/** Starts a program with all scenarios; the last field has what reached the server in each. */
async function runAll(t: TestContext, start: typeof startHoldfast): Promise<ReadonlyMap<string, readonly unknown[]>> {
  const reached = new Map<string, string[]>();
  const backend = await tcpBackend(t, async (connection) => {
    const head = (await connection.readHeader()) ?? "";
    const [line, ...fields] = head.trimEnd().split("\r\n");
    const [, name] = /\/([^/]+)\//.exec(line) ?? ["", ""];
    const asked = reached.get(name) ?? [];
    reached.set(name, asked);
    asked.push([line, ...fields.filter((field) => !field.startsWith("Host:")).sort()].join(" | "));
    const answers = SCENARIOS.find((scenario) => scenario.name === name)?.answers ?? [];
    const text = answers[Math.min(asked.length, answers.length) - 1];
    if (text !== "") connection.write(text);
    connection.end();
  });
  const locations = SCENARIOS.map(
    ({ name, location = "" }) =>
      `location /${name}/ { ${/proxy_pass /.test(location) ? "" : `proxy_pass http://${backend.address};`}
        ${/proxy_cache /.test(location) ? "" : "proxy_cache one;"} ${location} }`,
  );
  const further = SCENARIOS.map(({ server = "" }) => server.replaceAll("BACK", `proxy_pass http://${backend.address}`));
  const running: Running = await start(t, {
    config: ([port]) =>
      `user root; worker_processes 1; http { proxy_cache_path cache levels=1:2 keys_zone=one:1m;
        upstream two { server ${backend.address}; server ${backend.address}; }
        server { listen 127.0.0.1:${port}; add_header X-Cache $upstream_cache_status always; max_ranges 1; absolute_redirect off; proxy_http_version 1.1; proxy_set_header Connection close;
          location @page { return 200 "page $upstream_cache_status"; }
          ${[...locations, ...further].join("\n")} } }`,
  });
  const outcomes = new Map<string, readonly unknown[]>();
  for (const { name, requests } of SCENARIOS) {
    const outcome: unknown[] = [];
    for (const wanted of requests) {
      const [first, ...fields] = typeof wanted === "string" ? [wanted] : wanted;
      const line = first.replace(" /", ` /${name}/`);
      const raw = [`${line} HTTP/1.1`, "Host: a", "Connection: close", ...fields, "", ""].join("\r\n");
      // It is closed when its background update is over, too.
      outcome.push(said(await send(running.port, raw)));
    }
    outcomes.set(name, [...outcome, reached.get(name)]);
  }
  return outcomes;
}

/** A response without what differs in every one. */
function said(raw: string): unknown {
  const end = raw.indexOf("\r\n\r\n");
  if (end < 0) return raw;
  const [line, ...fields] = raw.slice(0, end).split("\r\n");
  const status = Number(line.split(" ")[1]);
  const page = status >= 300 && /<center>/.test(raw);
  const body = raw.slice(end + 4);
  return {
    line,
    fields: fields
      .filter((field) => !/^(?:Date: \w{3}, \d\d (?!Jan 2026)|Server: (?:nginx|holdfast))/.test(field))
      .filter((field) => !page || !field.startsWith("Content-Length:"))
      .sort(),
    body: page ? "" : fields.some((field) => field === "Content-Encoding: gzip") ? "gzip" : body,
  };
}

test("the cache answers as nginx's does", { skip: have("nginx") }, async (t) => {
  const [ours, theirs] = await Promise.all([runAll(t, startHoldfast), runAll(t, startNginx)]);
  const old = minorVersion() < 23;
  for (const { name } of SCENARIOS) {
    if (old && CHANGED.some((pattern) => pattern.test(name))) continue;
    await t.test(name, () => assert.deepEqual(ours.get(name), theirs.get(name)));
  }
});
