import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { buildAccessRules, matchAccess, parseAccessRule } from "../../src/net/access_rules.ts";
import type { Address } from "../../src/net/address.ts";
import { clientAddress, ipv6Text, parseCidr, parseIpv4, parseIpv6 } from "../../src/net/ip.ts";
import { checkConfig, NGINX } from "../support/reference_nginx.ts";

function client(text: string): Address {
  if (text.startsWith("unix:")) return { family: "unix", path: text.slice(5) };
  return { family: text.includes(":") ? "ipv6" : "ipv4", host: text, port: 1 };
}

function decide(rules: string, from: string): string | undefined {
  const parsed = rules.split("; ").map((line) => {
    const [verb, who] = line.split(" ");
    const rule = parseAccessRule(verb === "deny", who);
    assert.ok(!("error" in rule));
    return rule.rule;
  });
  return matchAccess(buildAccessRules(parsed), clientAddress(client(from)));
}

describe("allow and deny", () => {
  test("the first rule about the client decides", () => {
    const rules = "deny 192.168.1.1; allow 192.168.1.0/24; allow 10.1.1.0/16; allow 2001:db8::/32; deny all";
    assert.equal(decide(rules, "192.168.1.1"), "deny");
    assert.equal(decide(rules, "192.168.1.2"), "allow");
    assert.equal(decide(rules, "10.1.255.255"), "allow");
    assert.equal(decide(rules, "10.2.0.0"), "deny");
    assert.equal(decide(rules, "2001:db8:ffff::1"), "allow");
    assert.equal(decide(rules, "2001:db9::1"), "deny");
    assert.equal(decide(rules, "unix:/x"), "deny");
  });

  test("nothing said about the client", () => {
    assert.equal(decide("deny 10.0.0.0/8", "::1"), undefined);
    assert.equal(decide("deny ::/0", "10.0.0.1"), undefined);
    assert.equal(decide("deny 0.0.0.0/0", "unix:/x"), undefined);
    assert.equal(decide("allow unix:; deny all", "unix:/x"), "allow");
    assert.equal(decide("deny 0.0.0.0/0", "255.255.255.254"), "deny");
    assert.equal(decide("deny 128.0.0.0/1", "200.1.1.1"), "deny");
    assert.equal(decide("deny 128.0.0.0/1", "100.1.1.1"), undefined);
  });

  test("an IPv4 client on an IPv6 socket falls under the IPv4 rules", () => {
    assert.equal(decide("deny 10.0.0.1", "::ffff:10.0.0.1"), "deny");
    assert.equal(decide("deny ::ffff:10.0.0.1", "::ffff:10.0.0.1"), "deny");
    assert.equal(decide("deny ::ffff:10.0.0.1; allow 10.0.0.2", "::ffff:10.0.0.1"), undefined);
    assert.equal(decide("deny fe80::1", "fe80::1%eth0"), "deny");
  });
});

/** Arguments nginx refuses or warns about. */
const SENTENCES: readonly (readonly [text: string, message: string])[] = [
  ["what", 'invalid parameter "what"'],
  ["10.0.0.1/33", 'invalid parameter "10.0.0.1/33"'],
  ["10.0.0.1/", 'invalid parameter "10.0.0.1/"'],
  ["10.0.0.256", 'invalid parameter "10.0.0.256"'],
  ["10.0.0", 'invalid parameter "10.0.0"'],
  ["::1/129", 'invalid parameter "::1/129"'],
  ["1::2::3", 'invalid parameter "1::2::3"'],
  ["unix:/x", 'invalid parameter "unix:/x"'],
  ["10.0.0.1/8", "low address bits of 10.0.0.1/8 are meaningless"],
  ["2001:db8::1/32", "low address bits of 2001:db8::1/32 are meaningless"],
];

test("bad arguments are refused in nginx's words", () => {
  for (const [text, message] of SENTENCES) {
    const parsed = parseAccessRule(false, text);
    assert.equal("error" in parsed ? parsed.error : parsed.warning, message);
  }
});

test("the same sentences as nginx", { skip: NGINX === undefined }, () => {
  for (const [text, message] of SENTENCES) {
    assert.deepEqual(checkConfig(`server { listen unix:/none; allow ${text}; }`).slice(0, 1), [message]);
  }
});

describe("addresses as numbers", () => {
  test("IPv4", () => {
    assert.equal(parseIpv4("1.2.3.4"), 0x01020304);
    assert.equal(parseIpv4("200.0.0.1"), 0xc8000001);
    for (const text of ["", "1.2.3", "1.2.3.4.5", "1.2.3.x", "1.2.3.300", "-1.2.3.4"])
      assert.equal(parseIpv4(text), undefined);
  });

  test("IPv6 in its many forms", () => {
    const forms = [
      ["::", "::"],
      ["::1", "::1"],
      ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
      ["1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"],
      ["FE80::ABCD", "fe80::abcd"],
      ["::ffff:1.2.3.4", "::ffff:1.2.3.4"],
      ["64:ff9b::1.2.3.4", "64:ff9b::102:304"],
      ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
    ];
    for (const [text, printed] of forms) assert.equal(ipv6Text(parseIpv6(text) ?? new Uint8Array(16)), printed);
    for (const text of [
      "",
      ":",
      ":::",
      "1",
      "1:2:3:4:5:6:7:8:9",
      "12345::",
      "g::",
      "1.2.3.4",
      "::1.2.3",
      "1:2:3:4:5:6:7",
    ]) {
      assert.equal(parseIpv6(text), undefined, text);
    }
  });

  test("the zero prefix takes every address", () => {
    assert.deepEqual(parseCidr("0.0.0.0/0"), { cidr: { family: "ipv4", address: 0, mask: 0 }, lowBits: false });
    assert.equal(parseCidr("::/0")?.lowBits, false);
  });
});
