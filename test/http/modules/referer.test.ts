import assert from "node:assert/strict";
import { test } from "node:test";
import { have } from "../../support/have.ts";
import { startHoldfast, startNginx } from "../../support/holdfast.ts";
import { describeSentences } from "../../support/sentences.ts";
import { get } from "../../support/tcp.ts";

/** Locations, each with its directives. */
const LOCATIONS: Readonly<Record<string, string>> = {
  outer: "",
  simple: "valid_referers www.example.org;",
  none: "valid_referers none www.example.org;",
  blocked: "valid_referers blocked www.example.org; valid_referers other.example.org;",
  names: "valid_referers server_names;",
  "names-and-more": "valid_referers none blocked server_names *.other.example ~^[^/]*PATTERN/;",
  wildcards: "valid_referers *.example.com .example.net www.example.* *.sub.example.com/deep;",
  uris: "valid_referers www.example.org/a/b example.org/ *.example.com/c www.*/d;",
  regexes: "valid_referers ~example\\.net/path$ ~^(www\\.)?regex\\.example ~end=.*stop;",
  "own-regexes": "valid_referers ~only;",
};

const config = ([port]: readonly number[]): string => `http {
  access_log off;
  server {
    listen 127.0.0.1:${port};
    server_name named.example .dotted.example *.starred.example ~^re\\d+\\.example$;
    valid_referers outer.example ~outer-pattern;
    ${Object.entries(LOCATIONS)
      .map(
        ([name, directives]) => `location /${name}/ { ${directives} return 200 "[$invalid_referer]";
        location /${name}/inner/ { return 200 "[$invalid_referer]"; }
        location /${name}/replaced/ { valid_referers inner.example; return 200 "[$invalid_referer]"; } }`,
      )
      .join("\n    ")}
    location /if/ { valid_referers www.example.org; if ($invalid_referer) { return 403; } return 200 yes; }
  }
}`;

const REFERERS = [
  ...[
    "http://www.example.org",
    "http://www.example.org/",
    "https://www.example.org/x",
    "HTTP://WWW.Example.ORG:8080/x",
  ],
  ...[
    "http://www.example.org.",
    "http://www.example.org:80",
    "httpx://www.example.org",
    "www.example.org",
    "http:/www.example.org",
  ],
  ...[
    "ftp://www.example.org/",
    "http://",
    "http://a",
    "http://su",
    "http://i.ru",
    "http://i.r",
    "http:///www.example.org",
    "-",
    "",
  ],
  ...[
    "http://www.example.org/a",
    "http://www.example.org/a/b",
    "http://www.example.org:1/a/bc?d",
    "http://www.example.org/A/B",
  ],
  ...[
    "http://example.org",
    "http://example.org/",
    "http://example.org:80",
    "http://user@example.org/",
    "http://example.org?/",
  ],
  ...[
    "http://example.com/c",
    "http://x.example.com/c",
    "http://x.y.example.com/c/d",
    "http://xexample.com/c",
    "http://.example.com",
  ],
  ...["http://a.sub.example.com/", "http://a.sub.example.com/deep", "http://sub.example.com/deeper"],
  ...[
    "http://example.net",
    "http://a.example.net",
    "http://www.example.museum/d",
    "http://www.x.y/d",
    "http://www/d",
    "http://www./d",
  ],
  ...[
    "http://regex.example",
    "http://www.regex.example:80/",
    "http://a.regex.example",
    "http://REGEX.example",
    "http://example.net/path",
  ],
  ...[
    "http://example.net/path/",
    "http://a/?end=many-stop",
    "http://PATTERN/",
    "http://x.pattern/",
    "http://y/pattern/",
  ],
  ...[
    "http://named.example",
    "http://dotted.example",
    "http://a.dotted.example/x",
    "http://starred.example",
    "http://b.starred.example",
  ],
  ...[
    "http://re12.example",
    "http://RE1.example:80/",
    "http://re.example",
    "http://outer.example",
    "http://outer-pattern/",
  ],
  ...[
    "http://inner.example",
    "http://only.example",
    "http://a.other.example",
    "http://caf\xe9.example",
    "http://example.com\\a",
  ],
  ...[`http://www.example.org/${"a".repeat(300)}`, `http://www.${"a".repeat(250)}`, `http://${"a".repeat(256)}/only`],
  ...[`http://${"a".repeat(257)}/only`, `http://www.${"b".repeat(252)}/d`, `http://www.${"b".repeat(253)}/d`],
];

test("a referer is valid where nginx says so", { skip: have("nginx") }, async (t) => {
  const ours = await startHoldfast(t, { config });
  const theirs = await startNginx(t, { config });
  const answers = new Set<string>();
  const places = Object.keys(LOCATIONS).flatMap((name) =>
    ["", "inner/", "replaced/"].map((rest) => `/${name}/${rest}`),
  );
  for (const path of [...places, "/if/"]) {
    for (const fields of [
      [],
      ...REFERERS.map((value) => [`Referer: ${value}`]),
      ["Referer: x", "Referer: http://www.example.org"],
    ]) {
      const [found, expected] = await Promise.all(
        [ours, theirs].map(async ({ port }) => {
          const { status, body } = await get(port, path, ...fields);
          return status === 200 ? body : status;
        }),
      );
      assert.equal(found, expected, `${path} ${fields.join()}`);
      answers.add(`${path} ${found}`);
    }
  }
  for (const path of places)
    assert.ok(answers.has(`${path} []`) && answers.has(`${path} [1]`), `${path} has both answers`);
});

test("a pattern that takes too long is logged, and the variable is empty", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { access_log off; server { listen 127.0.0.1:${port}; valid_referers "~^x/(?=(?:a|aa)+c)";
      return 200 "[$invalid_referer]"; } }`,
  });
  const { body } = await get(holdfast.port, "/", `Referer: http://x/${"a".repeat(6000)}b`);
  assert.equal(body, "[]");
  await holdfast.waitForLog(/\[alert\] [^\n]*pcre2_match\(\) failed: -\d+ on "x\/a+/);
});

const inServer = (text: string): string => `server {\n${text}\n}`;

describeSentences("valid referers", [
  ["none", inServer("valid_referers;")],
  ["an empty one", inServer('valid_referers a "";')],
  ["in http", "valid_referers a;"],
  ["in an if", inServer("location / {\nif ($uri) {\nvalid_referers a;\n}\n}")],
  ["only none", inServer("valid_referers none;")],
  ["only blocked, inherited", inServer("valid_referers blocked;\nlocation / {\n}")],
  ["none and a pattern", inServer("valid_referers none ~a;")],
  ["none and no server name", inServer("valid_referers none server_names;")],
  ["none and a pattern of a server name", inServer("server_name ~a;\nvalid_referers none server_names;")],
  ["a host twice", inServer("valid_referers a b;\nvalid_referers A;")],
  ["a host twice with URIs", inServer("valid_referers Example.org/a example.org/b;")],
  ["a host and its wildcard", inServer("valid_referers example.org .Example.org;")],
  ["a wildcard twice", inServer("valid_referers *.example.org .Example.org;")],
  ["a tail twice", inServer("valid_referers www.* WWW.*;")],
  ["a star within", inServer("valid_referers www.*.org;")],
  ["two stars", inServer("valid_referers *.example.*;")],
  ["two dots", inServer("valid_referers www..org;")],
  ["a star alone", inServer("valid_referers *;")],
  ["a URI alone", inServer("valid_referers / /a;")],
  ["an empty pattern", inServer("valid_referers ~;")],
  ["a wrong pattern", inServer('valid_referers "~(a";')],
  ["a server name that is there", inServer("server_name a b;\nvalid_referers B server_names;")],
  ["a server name that is invalid", inServer("server_name a..b;\nvalid_referers server_names;")],
  ["sizes", inServer("referer_hash_max_size 1024;\nreferer_hash_bucket_size 128;\nvalid_referers a;")],
  ["a size twice", inServer("referer_hash_max_size 1024;\nreferer_hash_max_size 1024;")],
  ["no size", inServer("referer_hash_bucket_size x;")],
  ["a size in http", "referer_hash_max_size 1024;"],
  ["the variable is changeable", inServer("set $invalid_referer 1;")],
]);
