import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  PROXY_DONE,
  PROXY_ERROR,
  PROXY_MORE,
  type ProxyProtocol,
  ProxyProtocolReader,
  proxyProtocolTlv,
} from "../../src/net/proxy_protocol.ts";
import { everySplit } from "../support/splits.ts";

const SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";

function v2(command: number, family: number, payload: string, length = payload.length): string {
  return SIGNATURE + String.fromCharCode(command, family, length >> 8, length & 255) + payload;
}

function read(text: string, cuts: readonly number[] = []): [number, number, ProxyProtocol | undefined, string] {
  const bytes = Buffer.from(text, "latin1");
  const reader = new ProxyProtocolReader();
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    const lent = Buffer.concat([Buffer.from("PRO"), bytes.subarray(from, to), Buffer.from("XY")]);
    const code = reader.feed(lent, 3, 3 + to - from);
    lent.fill("Z");
    if (code !== PROXY_MORE)
      return [code, code === PROXY_DONE ? from + reader.end - 3 : -1, reader.header, reader.error];
    from = to;
  }
  return [PROXY_MORE, -1, undefined, ""];
}

const V4 = "\x0a\0\0\x01\x0a\0\0\x02\x30\x39\0\x50";
const V6 = `${"\x20\x01\x0d\xb8"}${"\0".repeat(11)}\x01${"\0".repeat(10)}\xff\xff\x7f\0\0\x01\x30\x39\0\x50`;
const TLVS = "\x02\0\x05a.com\xea\0\x02xy\x20\0\x0d\x07\0\0\0\x02\x22\0\x02me\x21\0\0";

/** A header, what becomes of it, the addresses it gives or the sentence. */
const HEADERS: readonly [string, number, string?][] = [
  ["PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n", PROXY_DONE, "192.0.2.1:1234 192.0.2.2:5678"],
  ["PROXY TCP6 2001:Db8::1 2001:Db8::2 0 65535\r\n", PROXY_DONE, "2001:Db8::1:0 2001:Db8::2:65535"],
  ["PROXY UNKNOWN\r\n", PROXY_DONE],
  ["PROXY UNKNOWN 1 2 3 4 5 6\r\n", PROXY_DONE],
  [v2(0x21, 0x11, V4), PROXY_DONE, "10.0.0.1:12345 10.0.0.2:80"],
  [v2(0x21, 0x11, V4 + TLVS), PROXY_DONE, "10.0.0.1:12345 10.0.0.2:80"],
  [v2(0x21, 0x21, V6), PROXY_DONE, "2001:db8::1:12345 ::ffff:127.0.0.1:80"],
  [v2(0x20, 0x00, ""), PROXY_DONE],
  [v2(0x21, 0x31, "x".repeat(216)), PROXY_DONE],
  [v2(0x21, 0x12, V4), PROXY_DONE],
  ["", PROXY_MORE],
  ["PROXY TCP4 192.0.2.1", PROXY_MORE],
  [v2(0x21, 0x11, V4).slice(0, 20), PROXY_MORE],
  ["GET / HTTP/1.1\r\n", PROXY_ERROR],
  ["PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", PROXY_ERROR, 'broken header: "PROXY TCP5 192.0.2.1 192.0.2.2 1 2"'],
  ["PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", PROXY_ERROR],
  ["PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", PROXY_ERROR],
  ["PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", PROXY_ERROR],
  ["PROXY TCP4 192.0.2.1 192.0.2.2 1 -2\r\n", PROXY_ERROR],
  ["PROXY TCP4 192.0.2.1 192.0.2.2  1\r\n", PROXY_ERROR],
  ["PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", PROXY_ERROR],
  ["PROXY TCP6 fe80::1%lo ::1 1 2\r\n", PROXY_ERROR],
  ["PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", PROXY_ERROR],
  [`PROXY UNKNOWN ${"x".repeat(5000)}`, PROXY_ERROR],
  [v2(0x31, 0x11, V4), PROXY_ERROR, "unknown PROXY protocol version: 3"],
  [v2(0x21, 0x11, "", 5000), PROXY_ERROR, "header is too large"],
  [v2(0x21, 0x11, V4.slice(1)), PROXY_ERROR],
  [v2(0x21, 0x21, V4), PROXY_ERROR],
];

test("headers good and bad, in whatever pieces they come", () => {
  for (const [text, code, said] of HEADERS) {
    for (const follows of ["", "GET / HTTP/1.1\r\n"]) {
      if (code === PROXY_MORE && follows !== "") continue;
      const whole = read(text + follows);
      assert.equal(whole[0], code, JSON.stringify(text));
      if (code === PROXY_DONE) {
        assert.equal(whole[1], text.length);
        const header = whole[2];
        const shown =
          header === undefined
            ? undefined
            : `${header.sourceAddress}:${header.sourcePort} ${header.destinationAddress}:${header.destinationPort}`;
        assert.equal(shown, said);
      } else if (code === PROXY_ERROR && said !== undefined) assert.equal(whole[3], said);
      if (text.length > 1000) continue;
      for (const cuts of everySplit(Buffer.from(text + follows, "latin1"))) {
        assert.deepEqual(
          read(text + follows, cuts).slice(0, 3),
          whole.slice(0, 3),
          `${JSON.stringify(text)} at ${cuts}`,
        );
      }
    }
  }
});

test("TLVs by name and by number, those of TLS too", () => {
  const header = read(v2(0x21, 0x11, V4 + TLVS))[2];
  assert.ok(header);
  const value = (name: string) => proxyProtocolTlv(header, name);
  assert.deepEqual(value("authority"), { value: "a.com" });
  assert.deepEqual(value("0x02"), { value: "a.com" });
  assert.deepEqual(value("0xEA"), { value: "xy" });
  assert.deepEqual(value("ssl_verify"), { value: "2" });
  assert.deepEqual(value("ssl_cn"), { value: "me" });
  assert.deepEqual(value("ssl_0x22"), { value: "me" });
  assert.deepEqual(value("ssl_version"), { value: "" });
  assert.equal(value("ssl").value?.length, 13);
  assert.deepEqual(value("alpn"), {});
  assert.deepEqual(value("ssl_cipher"), {});
  assert.deepEqual(value("nonsense"), { error: 'unknown PROXY protocol TLV "nonsense"' });
  assert.deepEqual(value("0xzz"), { error: 'invalid PROXY protocol TLV "0xzz"' });
  const broken = read(v2(0x21, 0x11, `${V4}\x02\0\x09a`))[2];
  assert.ok(broken);
  assert.deepEqual(proxyProtocolTlv(broken, "alpn"), { error: "broken PROXY protocol TLV" });
});

test("any bytes: ends and throws nothing", () => {
  const start = fc.constantFrom("", "PROXY ", "PROXY TCP4 ", SIGNATURE, `${SIGNATURE}\x21\x11`, v2(0x21, 0x11, V4, 40));
  fc.assert(
    fc.property(start, fc.uint8Array({ maxLength: 60 }), fc.nat(70), (head, rest, cut) => {
      const text = head + Buffer.from(rest).toString("latin1");
      const whole = read(text);
      assert.deepEqual(read(text, cut > 0 && cut < text.length ? [cut] : []).slice(0, 3), whole.slice(0, 3));
      if (whole[2] !== undefined) for (const name of ["alpn", "ssl_cn", "0xff"]) proxyProtocolTlv(whole[2], name);
    }),
    { numRuns: 2000 },
  );
});
