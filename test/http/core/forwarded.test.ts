import assert from "node:assert/strict";
import { test } from "node:test";
import { forwardedAddress, type TrustedProxies } from "../../../src/http/core/forwarded.ts";
import { type Address, addressText } from "../../../src/net/address.ts";
import { parseCidr } from "../../../src/net/ip.ts";

const trusted = (...ranges: readonly string[]): TrustedProxies =>
  ranges.map((range) => (range === "unix:" ? "unix" : (parseCidr(range)?.cidr ?? assert.fail(range))));
const ipv4 = (host: string): Address => ({ family: "ipv4", host, port: 1 });
const ipv6 = (host: string): Address => ({ family: "ipv6", host, port: 1 });

/** Whether what a peer says of its client is believed. */
const isTrusted = (proxies: TrustedProxies, peer: Address): boolean =>
  forwardedAddress(peer, ["192.0.2.1"], proxies, false) !== undefined;

test("an IPv4-mapped address is trusted as the IPv4 address in it, never as IPv6", () => {
  assert.equal(isTrusted(trusted("10.0.0.0/8"), ipv6("::ffff:10.1.2.3")), true);
  assert.equal(isTrusted(trusted("::/0"), ipv6("::ffff:10.1.2.3")), false);
  assert.equal(isTrusted(trusted("::/0"), ipv6("::1")), true);
  assert.equal(isTrusted(trusted("0.0.0.0/0", "::/0"), { family: "unix", path: "" }), false);
  assert.equal(isTrusted(trusted("unix:"), { family: "unix", path: "" }), true);
});

test("the client is the last address, or the last that is no trusted proxy", () => {
  const proxies = trusted("127.0.0.1", "10.0.0.0/8");
  const find = (recursive: boolean, ...lines: readonly string[]): string | undefined => {
    const found = forwardedAddress(ipv4("127.0.0.1"), lines, proxies, recursive);
    return found && addressText(found);
  };
  assert.equal(find(false, "192.0.2.1, 10.0.0.2"), "10.0.0.2:0");
  assert.equal(find(true, "192.0.2.1, 10.0.0.2"), "192.0.2.1:0");
  assert.equal(find(true, "198.51.100.1, 192.0.2.1:77,10.0.0.2 , ,"), "192.0.2.1:77");
  assert.equal(find(true, "10.0.0.3, 10.0.0.2"), "10.0.0.3:0");
  assert.equal(find(true, "junk, 10.0.0.2"), "10.0.0.2:0");
  assert.equal(find(true, "192.0.2.1", "10.0.0.2"), "192.0.2.1:0");
  assert.equal(find(false, "192.0.2.1", "10.0.0.2"), "10.0.0.2:0");
  assert.equal(find(true, "192.0.2.1", "junk", "10.0.0.2"), "10.0.0.2:0");
  assert.equal(find(false, "junk"), undefined);
  assert.equal(find(false, ""), undefined);
  assert.equal(forwardedAddress(ipv4("192.0.2.9"), ["192.0.2.1"], proxies, true), undefined);
});
