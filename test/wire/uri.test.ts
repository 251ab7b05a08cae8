import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  ESCAPE_ARGS,
  ESCAPE_URI,
  escapeHtml,
  escapeJson,
  escapeUri,
  UNESCAPE_ALL,
  UNESCAPE_REDIRECT,
  unescapeUri,
} from "../../src/wire/escape.ts";
import { DONE, RequestHead } from "../../src/wire/http1/request_head.ts";
import { COMPLEX } from "../../src/wire/http1/request_line.ts";
import { argument, extenOf, parseUnsafeUri, splitTarget, type UriParts } from "../../src/wire/uri.ts";
import { LIMITS } from "./http1/limits.ts";
import { TARGETS } from "./targets.ts";

const head = new RequestHead(LIMITS);
const roomy = { ...LIMITS, headerBufferSize: 100_000 };

function noParts(): UriParts {
  return { uri: "", args: "", exten: "", quotedUri: false, plusInUri: false };
}

/** Takes a target apart as a request with it is; false where it is refused. */
function parseUri(raw: string, mergeSlashes: boolean, into: UriParts): boolean {
  head.clear();
  head.begin(roomy);
  const bytes = Buffer.from(`GET ${raw} HTTP/1.0\r\n\r\n`, "latin1");
  if (head.feed(bytes, 0, bytes.length) !== DONE) return false;
  return splitTarget(head.rawUri, head.complex, head.argsAt, head.extAt, head.plus, mergeSlashes, into);
}

function parse(raw: string, merge = true): string {
  const parts = noParts();
  return parseUri(raw, merge, parts) ? `${parts.uri}|${parts.args}|${parts.exten}` : "refused";
}

test("paths are decoded and resolved, arguments left alone", () => {
  const table: [string, string][] = [
    ["/a/b.html?x=%20", "/a/b.html|x=%20|html"],
    ["/a.b/c", "/a.b/c||"],
    ["/a%2eb", "/a.b||b"],
    ["/a/../b.c#x?y", "/b.c||c"],
    ["/a?b#c", "/a|b|"],
    ["/.x", "/.x||"],
    ["/a//b", "/a/b||"],
    ["/a/%2e%2e/%2e", "/||"],
    ["/a%252e", "/a%2e||"],
    ["/%3f%23%25", "/?#%||"],
    ["/..", "refused"],
    ["/a/../../", "refused"],
    ["/%00", "refused"],
    ["/%", "refused"],
    ["/%4", "refused"],
    ["/a b", "refused"],
    ["/a?\0", "refused"],
    ["", "refused"],
    ["a", "refused"],
    ["?a", "refused"],
  ];
  for (const [raw, expected] of table) assert.equal(parse(raw), expected, raw);
  assert.equal(parse("/a//b///../c", false), "/a//b//c||");
});

test("what is known of a path: escapes, a plus", () => {
  const parts = noParts();
  const flags = (raw: string) => (parseUri(raw, true, parts) ? [parts.quotedUri, parts.plusInUri] : []);
  assert.deepEqual(flags("/a?b+%20"), [false, false]);
  assert.deepEqual(flags("/a+b"), [false, true]);
  assert.deepEqual(flags("/a%2bb"), [true, true]);
  assert.deepEqual(flags("/a/./b"), [false, false]);
});

test("the quick way and the long way agree", () => {
  const quick = noParts();
  const long = noParts();
  const token = fc.constantFrom(..."/|a|.|..|%2e|%2f|%3f|?|#|+|%|%4|b.c|//".split("|"));
  const check = (raw: string) => {
    const fine = parseUri(raw, true, quick);
    if (!raw.startsWith("/")) return;
    if (head.complex === 0 && !fine) return;
    assert.equal(splitTarget(raw, COMPLEX, -1, -1, false, true, long), fine, raw);
    if (!fine) return;
    assert.deepEqual([quick.uri, quick.args, quick.exten], [long.uri, long.args, long.exten], raw);
    assert.ok(!/\/\.\.?(\/|$)/.test(quick.uri) || /%25|%3f|%23/i.test(raw), `${raw} gives ${quick.uri}`);
    assert.ok(quick.uri.startsWith("/"));
  };
  for (const raw of TARGETS) if (raw.startsWith("/")) check(raw);
  fc.assert(
    fc.property(fc.array(token, { maxLength: 14 }), (tokens) => check(`/${tokens.join("")}`)),
    { numRuns: 5000 },
  );
});

test("a long path is no trouble", () => {
  const raw = `/${"a/../".repeat(10000)}%41`;
  assert.equal(parse(raw), "/A||");
});

test("escaping", () => {
  const all = String.fromCharCode(...Array.from({ length: 95 }, (_, i) => i + 32));
  const escaped = (kind: Parameters<typeof escapeUri>[1]) =>
    [...all].filter((char) => escapeUri(char, kind) !== char).join("");
  assert.equal(escaped(ESCAPE_URI), ' "#%<>?\\^`{|}');
  assert.equal(escaped(ESCAPE_ARGS), ' "#%&+;<>?\\^`{|}');
  assert.equal(escapeUri("\0\x1f\x7f\xff", ESCAPE_URI), "%00%1F%7F%FF");
  assert.equal(escapeUri("a b/ü", ESCAPE_URI), "a%20b/%FC");
});

test("unescaping", () => {
  const table: [string, string, string][] = [
    // text, everything, a redirect
    ["a%20b%41", "a bA", "a%20bA"],
    ["a%3fb%20", "a?b ", "a?b%20"],
    ["a?%20", "a? ", "a?%20"],
    ["%zz%4", "zz", "zz"],
    ["%4zz", "z", "z"],
    ["%%41", "%41", "%41"],
    ["%", "", ""],
    ["%25%7f%26", "%\x7f&", "%25%7f&"],
    ["%?%41", "?A", "?A"],
  ];
  for (const [text, all, redirect] of table) {
    assert.equal(unescapeUri(text, UNESCAPE_ALL), all, text);
    assert.equal(unescapeUri(text, UNESCAPE_REDIRECT), redirect, text);
  }
  fc.assert(
    fc.property(fc.string({ unit: fc.nat(255).map((code) => String.fromCharCode(code)) }), (text) => {
      assert.equal(unescapeUri(escapeUri(text, ESCAPE_ARGS), UNESCAPE_ALL), text);
    }),
  );
});

test("HTML and JSON", () => {
  assert.equal(escapeHtml('<a href="x">&\''), "&lt;a href=&quot;x&quot;&gt;&amp;'");
  assert.equal(escapeHtml("plain"), "plain");
  const text = '"\\\n\r\t\b\f\x01\x1f\x7f\xe4';
  assert.equal(escapeJson(text), '\\"\\\\\\n\\r\\t\\b\\f\\u0001\\u001F\x7f\xe4');
  assert.equal(JSON.parse(`"${escapeJson(text)}"`), text);
});

test("single arguments", () => {
  const args = "a=1&bb=2&A=3&c&d=&=e&f==g";
  assert.equal(argument(args, "a"), "1");
  assert.equal(argument(args, "BB"), "2");
  assert.equal(argument(args, "b"), undefined);
  assert.equal(argument(args, "c"), undefined);
  assert.equal(argument(args, "d"), "");
  assert.equal(argument(args, "f"), "=g");
  assert.equal(argument("", "a"), undefined);
});

test("extensions as nginx finds them", () => {
  assert.equal(extenOf("/a.html"), "html");
  assert.equal(extenOf("/a.tar.gz"), "gz");
  assert.equal(extenOf("/dir.d/file"), "");
  assert.equal(extenOf("/.profile"), "");
  assert.equal(extenOf("/a/.profile"), "");
  assert.equal(extenOf("/a."), "");
  assert.equal(extenOf("/"), "");
  assert.equal(extenOf(""), "");
});

test("a URI out of a response may not climb", () => {
  assert.deepEqual(parseUnsafeUri("/a%20b?c%20d"), { uri: "/a b", args: "c%20d" });
  assert.deepEqual(parseUnsafeUri("/a..b/.c"), { uri: "/a..b/.c", args: "" });
  for (const text of [
    "",
    "?a",
    "..",
    "../a",
    "/../a",
    "/a/..",
    "/a/%2e%2e",
    "/a/.%2e/b",
    "/a%00",
    "/a/..?b",
    "/%2e%2e",
  ]) {
    assert.equal(parseUnsafeUri(text), undefined, text);
  }
});
