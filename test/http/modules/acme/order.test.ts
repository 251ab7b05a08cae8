import assert from "node:assert/strict";
import { test } from "node:test";
import {
  DEFAULT_KEY,
  identifierOfServerName,
  identifiersOf,
  makeOrder,
  parseKeyType,
} from "../../../../src/http/modules/acme/order.ts";

const dns = (...values: string[]) => values.map((value) => ({ type: "dns" as const, value }));
const ip = (...values: string[]) => values.map((value) => ({ type: "ip" as const, value }));

test("names stand for identifiers as in nginx's module", () => {
  assert.deepEqual(identifiersOf("Example.test"), dns("example.test"));
  assert.deepEqual(identifiersOf("_exam_ple"), dns("_exam_ple"));
  assert.deepEqual(identifiersOf(".Example.test"), dns("www.example.test", "example.test"));
  assert.deepEqual(identifiersOf("*.example.test"), dns("*.example.test"));
  assert.deepEqual(identifiersOf("192.0.2.1"), ip("192.0.2.1"));
  assert.deepEqual(identifiersOf("2001:DB8:0::1"), ip("2001:db8::1"));
  assert.deepEqual(identifiersOf("192.0.2.01"), dns("192.0.2.01"), "what Rust takes for no address is a name");
  for (const [name, error] of [
    ["www.example.*", "unexpected character '*' at position 12"],
    [".example..test", "unexpected character '.' at position 9"],
    ["*ww.example.test", "unexpected character 'w' at position 1"],
    ["example.test.", "does not end with a label"],
    ["*.", "does not end with a label"],
    ["", "does not end with a label"],
    ["E\x10ample", "invalid character 10 at position 1"],
    ["\xd0\xbf", "invalid character d0 at position 0"],
  ]) {
    assert.equal(identifiersOf(name), `invalid server name: ${error}`, name);
  }
});

test("types of keys", () => {
  assert.deepEqual(parseKeyType("ecdsa"), { name: "ecdsa", bits: 256 });
  assert.deepEqual(parseKeyType("ecdsa:521"), { name: "ecdsa", bits: 521 });
  assert.deepEqual(parseKeyType("rsa"), { name: "rsa", bits: 2048 });
  assert.deepEqual(parseKeyType("rsa:4096"), { name: "rsa", bits: 4096 });
  assert.deepEqual(parseKeyType("ecdsa:234"), { error: "unsupported curve" });
  assert.deepEqual(parseKeyType("rsa:1024"), { error: "unsupported key size" });
  assert.equal(parseKeyType("/etc/account.key"), undefined);
});

test("an order's files have the names that nginx's module gives them", () => {
  // Printed by a program in Rust with nginx's types, hashed by the standard library.
  const id = (identifiers: ReturnType<typeof dns | typeof ip>, key = DEFAULT_KEY) =>
    makeOrder("example", identifiers, key).id;
  assert.equal(id(dns("example.test")), "example.test-65b872a71da031a2");
  assert.equal(
    id(dns("www.example.test", "example.test"), { name: "ecdsa", bits: 384 }),
    "www.example.test-1b176f731eabfeb",
  );
  assert.equal(id(ip("192.0.2.1", "2001:db8::1"), { name: "rsa", bits: 2048 }), "192.0.2.1-97dc5012e241f63a");
  assert.equal(id(dns("a", "0123456789"), { name: "rsa", bits: 4096 }), "a-4daf8b9d0882c8c");
  const many = dns(...Array.from({ length: 40 }, (_, i) => `host${i}.example.test`));
  assert.equal(id(many, { name: "ecdsa", bits: 521 }), "host0.example.test-f067553c07250172");
});

test("a server name in a handshake may be an address written backwards", () => {
  assert.equal(identifierOfServerName("EXAMPLE.com"), "example.com");
  assert.equal(identifierOfServerName("1.0.0.127.IN-ADDR.ARPA"), "127.0.0.1");
  const nibbles = "1.a.b.c.d.e.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f";
  assert.equal(identifierOfServerName(`${nibbles}.ip6.arpa`), "fe80::fed:cba1");
  for (const name of ["0.0.127.in-addr.arpa", "256.0.0.127.in-addr.arpa", "1.0..127.in-addr.arpa", "f.ip6.arpa"]) {
    assert.equal(identifierOfServerName(name), undefined, name);
  }
});
