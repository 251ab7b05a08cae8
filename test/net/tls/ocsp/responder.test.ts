import assert from "node:assert/strict";
import { test } from "node:test";
import { parseResponder } from "../../../../src/net/tls/ocsp/responder.ts";

test("the URL of a responder", () => {
  const parsed = (url: string) => {
    const responder = parseResponder(url);
    if (typeof responder === "string") return responder;
    const { host, uri, target } = responder;
    const port = "port" in target ? target.port : undefined;
    return `${host} ${uri} ${"family" in target ? target.family : "name"}:${port}`;
  };
  assert.equal(parsed("http://127.0.0.1:8081"), "127.0.0.1 / ipv4:8081");
  assert.equal(parsed("HTTP://a.example"), "a.example / name:80");
  assert.equal(parsed("http://a.example:81/x/y"), "a.example /x/y name:81");
  assert.equal(parsed("http://a.example?x"), "a.example ?x name:80");
  assert.equal(parsed("http://[::1]:81/"), "[::1] / ipv6:81");
  assert.equal(parsed("http://[::1]/"), "[::1] / ipv6:80");
  assert.equal(parsed("https://a/"), 'invalid URL prefix in OCSP responder "https://a/"');
  assert.equal(parsed("http://"), 'invalid URL prefix in OCSP responder "http://"');
  assert.equal(parsed("http:///x"), 'no host in OCSP responder "/x"');
  assert.equal(parsed("http://a:0/"), 'invalid port in OCSP responder "a:0/"');
  assert.equal(parsed("http://unix:socket"), 'invalid host in OCSP responder "unix:socket"');
  // It may be a client's certificate that says so.
  for (const bad of ["a/ HTTP/1.1", "a/\r\nHost: b", "a/\0", "a/\xe4", "a\tb/"]) {
    assert.equal(parsed(`http://${bad}`), `invalid URL in OCSP responder "${bad}"`);
  }
});
