import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { have } from "../../support/have.ts";
import { startHoldfast, startNginx } from "../../support/holdfast.ts";
import { describeSentences } from "../../support/sentences.ts";
import { get } from "../../support/tcp.ts";

const config = ([port]: readonly number[]): string => `http {
  access_log off;
  secure_link $arg_md5; secure_link_md5 http$uri;
  server { listen 127.0.0.1:${port}; server_name whole; secure_link_secret "a word";
    location / { return 200 "[$secure_link|$secure_link_expires]"; }
    location /new/ { secure_link $arg_md5,$arg_expires; secure_link_md5 "$arg_expires$uri secret";
      return 200 "[$secure_link|$secure_link_expires]";
      location /new/early/ { set $early "$secure_link_expires"; return 200 "[$early|$secure_link|$secure_link_expires]"; }
      location /new/word/ { secure_link_secret other; return 200 "[$secure_link|$secure_link_expires]"; } }
    location /half/ { secure_link $arg_md5; return 200 "[$secure_link]"; }
    location /within/ { secure_link_secret secret; if ($arg_md5) { return 200 "if [$secure_link]"; } return 200 "[$secure_link]"; }
    location /empty/ { secure_link_secret ""; return 200 "[$secure_link]"; }
  }
}`;

const md5 = (text: string, encoding: "hex" | "base64url"): string => createHash("md5").update(text).digest(encoding);

/** Paths of good, bad and late links. */
function links(): string[] {
  const good = md5("/new/ secret", "base64url");
  const found = [
    "/new/",
    "/new/?md5=",
    "/new/?md5=,",
    `/new/?md5=${good}`,
    `/half/?md5=${md5("http/half/", "base64url")}`,
  ];
  // Without a time the link must not have a comma.
  for (const text of [
    good,
    `${good}=`,
    `${good}==`,
    `${good}=%ff`,
    `${good}===`,
    `${good}Q`,
    good.slice(1),
    `+${good}`,
  ]) {
    found.push(`/new/?md5=${text}`, `/new/?md5=${text}&expires=4000000000`);
  }
  for (const expires of [
    "0",
    "1",
    "00",
    "4000000000",
    "004000000000",
    "9223372036854775807",
    "9223372036854775808",
    "-1",
    "x",
    "1x",
    "",
  ]) {
    const right = md5(`${expires}/new/ secret`, "base64url");
    found.push(`/new/?md5=${right}&expires=${expires}`, `/new/?md5=${right}==&expires=${expires}`);
    found.push(`/new/?md5=${right.replace(/^./, (first) => (first === "A" ? "B" : "A"))}&expires=${expires}`);
  }
  found.push(`/new/early/?md5=${md5("4000000000/new/early/ secret", "base64url")}&expires=4000000000`);
  for (const [prefix, secret] of [
    ["", "a word"],
    ["within/", "secret"],
    ["new/word/", "other"],
    ["empty/", ""],
  ]) {
    for (const link of ["file", "a/b.html?md5=1", "a%20b", "file?", "/", ""]) {
      const right = md5(link + secret, "hex");
      for (const sum of [
        right,
        right.toUpperCase(),
        right.slice(1),
        `${right}0`,
        right.replace(/.$/, "g"),
        md5(link, "hex"),
        "",
      ]) {
        found.push(`/${prefix}${sum}/${link}`, `/${prefix}more/${sum}/${link}`);
      }
    }
  }
  return [...found, "/", "//", "/p", "/p/", "/p//", "/within/"];
}

test("a link is right, late or wrong where nginx says so", { skip: have("nginx") }, async (t) => {
  const ours = await startHoldfast(t, { config });
  const theirs = await startNginx(t, { config });
  const seen = new Set<string>();
  for (const path of links()) {
    const [found, expected] = await Promise.all([ours, theirs].map(async ({ port }) => (await get(port, path)).body));
    assert.equal(found, expected, path);
    seen.add(found.replace(/\|.*/, ""));
  }
  for (const value of ["[", "[0", "[1", "[file]", "if [a/b.html?md5=1]"]) assert.ok(seen.has(value), value);
});

test("links are checked without an nginx beside", async (t) => {
  const { port } = await startHoldfast(t, { config });
  const body = async (path: string): Promise<string> => (await get(port, path)).body;
  const good = md5("4000000000/new/ secret", "base64url");
  assert.equal(await body(`/new/?md5=${good}&expires=4000000000`), "[1|4000000000]");
  assert.equal(await body(`/new/?md5=${good}&expires=4000000001`), "[|4000000001]");
  assert.equal(await body(`/new/?md5=${md5("1/new/ secret", "base64url")}&expires=1`), "[0|1]");
  assert.equal(await body(`/within/${md5("filesecret", "hex")}/file`), "[file]");
});

describeSentences("secure links", [
  ["a secret with a link", "server {\n location / {\n secure_link_secret x;\n secure_link $uri;\n }\n}\n"],
  ["a secret with a checksum", "server {\n secure_link_md5 $uri;\n secure_link_secret x;\n}\n"],
  ["both in http", "secure_link_secret x;\nsecure_link $uri;\nserver {\n}\n"],
  ["both in an if", "server {\n location / {\n if ($uri) {\n secure_link_secret x;\n}\n }\n}\n"],
  [
    "a secret inside a link",
    "server {\n secure_link $uri;\n secure_link_md5 $uri;\n location / {\n secure_link_secret x;\n }\n}\n",
  ],
  ["a secret twice", "server {\n secure_link_secret x;\n secure_link_secret x;\n}\n"],
  ["a link twice", "secure_link $uri;\nsecure_link $uri;\n"],
  ["two arguments", "secure_link $uri $args;\n"],
  ["no argument", "secure_link_md5;\n"],
  ["an unknown variable", "secure_link_md5 $nothing;\n"],
  ["a name without an end", 'secure_link "${uri";\n'],
  ["a fixed variable", "server {\n set $secure_link 1;\n}\n"],
]);
