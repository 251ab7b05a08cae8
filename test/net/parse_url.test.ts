import assert from "node:assert/strict";
import { test } from "node:test";
import { addressText } from "../../src/net/address.ts";
import { hostAddresses, parseAddrPort, parseUrl } from "../../src/net/parse_url.ts";

/** What `parseUrl` makes of a text, port 80 being the default: the address, `name (port)`, or nginx's words. */
function urlText(text: string): string {
  const found = parseUrl(text, 80);
  if (typeof found === "string") return found;
  return "family" in found ? addressText(found) : `${found.host} (${found.port})`;
}

test("address[:port] is read as nginx reads it", () => {
  const cases: Readonly<Record<string, string>> = {
    "192.0.2.1": "192.0.2.1:80",
    "192.0.2.1:8080": "192.0.2.1:8080",
    // Empty octets count as 0.
    "127.0..1": "127.0.0.1:80",
    "127.0.1": "127.0.1 (80)",
    "256.0.0.1": "256.0.0.1 (80)",
    "backend.example:1": "backend.example (1)",
    "a:0": "invalid port",
    "a:65536": "invalid port",
    "a:": "invalid port",
    "a:80-81": "invalid port",
    "a:1:2": "invalid port",
    "": "no host",
    ":80": "no host",
    "a/b": "invalid host",
    "a?b": "invalid host",
    "80": "80 (80)",
    "*": "* (80)",
    "[2001:DB8:0:0:0:0:0:1]": "[2001:db8::1]:80",
    "[::ffff:192.0.2.1]:81": "[::ffff:192.0.2.1]:81",
    "[::1]:81": "[::1]:81",
    "[::1": "invalid host",
    "[::1]81": "invalid host",
    "[::1]/x": "invalid host",
    "[::1]:0": "invalid port",
    "[]": "no host",
    "[::1%lo]": "invalid IPv6 address",
    "[1:2]": "invalid IPv6 address",
    "unix:/run/x": "unix:/run/x",
    "UNIX:x:y": "unix:x:y",
    "unix:": "no path in the unix domain socket",
    [`unix:${"x".repeat(107)}`]: `unix:${"x".repeat(107)}`,
    [`unix:${"x".repeat(108)}`]: "too long path in the unix domain socket",
  };
  for (const [text, expected] of Object.entries(cases)) assert.equal(urlText(text), expected, text);
});

test("an address may have a port and brackets", () => {
  const cases: Readonly<Record<string, string | undefined>> = {
    "192.0.2.1": "192.0.2.1:0",
    "192.0.2.1:80": "192.0.2.1:80",
    "192.0.2.1:0": undefined,
    "192.0.2.1:65536": undefined,
    "192.0.2.1:": undefined,
    "192.0.2.1:8x": undefined,
    "2001:DB8::1": "[2001:db8::1]:0",
    "[2001:db8::1]": "[2001:db8::1]:0",
    "[2001:db8::1]:8080": "[2001:db8::1]:8080",
    "[2001:db8::1]8080": undefined,
    "[2001:db8::1": undefined,
    "": undefined,
    unknown: undefined,
    ":80": undefined,
  };
  for (const [text, expected] of Object.entries(cases)) {
    const address = parseAddrPort(text);
    assert.equal(address && addressText(address), expected, text);
  }
});

test("a name that was not resolved has no addresses, whatever it is", () => {
  for (const name of ["example", "constructor", "__proto__"]) assert.deepEqual(hostAddresses(name, {}), []);
});
