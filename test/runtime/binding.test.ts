import assert from "node:assert/strict";
import { test } from "node:test";
import { addressText } from "../../src/net/address.ts";
import { listenersToProbe } from "../../src/runtime/binding.ts";
import type { ListenSpec } from "../../src/runtime/cycle.ts";

function spec(host: string, port: number, ipv6only?: boolean): ListenSpec {
  const address = { family: host.includes(":") ? "ipv6" : "ipv4", host, port } as const;
  const rest = { backlog: undefined, reuseport: false, keepalive: undefined, deferred: false };
  return { ...rest, address, ipv6only, key: addressText(address) };
}

const unix: ListenSpec = { ...spec("::", 0), address: { family: "unix", path: "/a" }, key: "unix:/a" };

test("a reload probes what nobody but somebody else can hold", () => {
  const probed = (next: readonly ListenSpec[], current: readonly ListenSpec[]) =>
    listenersToProbe(next, current).map(({ key }) => key);
  const all = spec("0.0.0.0", 80);
  const one = spec("127.0.0.1", 80);
  const all6 = spec("::", 80, true);
  const both = spec("::", 80, false);
  assert.deepEqual(probed([all, unix], []), ["0.0.0.0:80", "unix:/a"]);
  assert.deepEqual(probed([all, unix], [all, unix]), []);
  assert.deepEqual(probed([all], [one]), []);
  assert.deepEqual(probed([one], [all]), []);
  assert.deepEqual(probed([one], [spec("127.0.0.2", 80)]), ["127.0.0.1:80"]);
  assert.deepEqual(probed([one, unix], [spec("0.0.0.0", 81)]), ["127.0.0.1:80", "unix:/a"]);
  assert.deepEqual(probed([all6], [all]), ["[::]:80"]);
  assert.deepEqual(probed([both], [one]), []);
  assert.deepEqual(probed([one], [both]), []);
  assert.deepEqual(probed([spec("::1", 80)], [all]), ["[::1]:80"]);
});
