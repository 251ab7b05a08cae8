import { claimStaples } from "../../../../src/net/tls/ocsp/staple_zone.ts";
import { given, say } from "../../../support/sharing.ts";

/** A checker that does nothing but write responses, each of one byte again and again and of another length. */
const { zones } = given();
const [slot] = claimStaples(zones[0], ["a"], 1);
for (let n = 1; ; n++) {
  const response = Buffer.alloc(1 + ((n * 977) % 16_384), n);
  slot.write({ response, validUntil: response.length, refreshAt: n & 0xff });
  if (n === 100) say("writes");
}
