import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { storedPassword, verifyPassword } from "../../../../src/http/modules/auth_basic/crypt.ts";
import { have } from "../../../support/have.ts";

const STORED: readonly (readonly [password: string, stored: string])[] = [
  ["secret", "{PLAIN}secret"],
  ["secret", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="],
  ["Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"],
  [
    "Hello world!",
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
  ],
  ["Hello world!", "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"],
  [
    "secret",
    `{SSHA}${Buffer.concat([createHash("sha1").update("secretfoo").digest(), Buffer.from("foo")]).toString("base64")}`,
  ],
];

test("the kinds of stored passwords", () => {
  for (const [password, stored] of STORED) {
    assert.equal(verifyPassword(password, stored), true, stored);
    assert.equal(verifyPassword(`${password}x`, stored), false, stored);
  }
});

test("hashes are openssl's and the C library's", { skip: have("openssl") }, () => {
  const long = "a longer password than any one block of these digests, äöü, 0123456789 0123456789 0123456789";
  for (const password of ["", "x", "password", "exactly sixteen!", long]) {
    const bytes = Buffer.from(password, "latin1").toString("latin1");
    for (const kind of ["-apr1", "-1", "-5", "-6"]) {
      // openssl refuses to make these two of nothing.
      if (password === "" && (kind === "-5" || kind === "-6")) continue;
      const { stdout } = spawnSync("openssl", ["passwd", kind, "-salt", "pepper", "-stdin"], {
        input: Buffer.from(`${bytes}\n`, "latin1"),
      });
      const stored = stdout.toString("latin1").trim();
      assert.equal(verifyPassword(bytes, stored), true, `${kind} of ${JSON.stringify(password)}: ${stored}`);
      assert.equal(verifyPassword(`${bytes}!`, stored), false, kind);
    }
  }
});

test("a stored text is no password", () => {
  assert.equal(verifyPassword("{PLAIN}", "{PLAIN}"), false);
  assert.equal(verifyPassword("x\0y", "{PLAIN}x"), true, "crypt() reads C strings");
});

test("a user's line of a user file", () => {
  const file = "# comment\nann:one\nanna:two:a comment\r\n\nbob:\n:none\nlast:three";
  assert.equal(storedPassword(file, "ann"), "one");
  assert.equal(storedPassword(file, "anna"), "two");
  assert.equal(storedPassword(file, "bob"), "");
  assert.equal(storedPassword(file, "last"), "three");
  assert.equal(storedPassword(file, "# comment"), undefined);
  assert.equal(storedPassword(file, "an"), undefined);
  assert.equal(storedPassword("ann", "ann"), undefined);
});
