import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ConfigError } from "../../../../src/config/types.ts";
import { program } from "../../../../src/program.ts";
import { loadConfiguration, validateCycle } from "../../../../src/runtime/master/load_cycle.ts";
import { workspace, write } from "../../../config/workspace.ts";

/** What nginx's ACME module refuses is refused, with the place of the directive. */

const directory = workspace();
write(directory, "empty.crt", "no certificate\n");
write(directory, "empty.key", "no key\n");

/** What is said of an http block: the error, without the directory. */
async function verdict(http: string): Promise<string> {
  const confFile = write(directory, "nginx.conf", `events {}\nhttp {\n${http}\n}\n`);
  const paths = { prefix: directory, confPrefix: directory, confFile, errorLog: "/dev/null" };
  const whole = program();
  try {
    await validateCycle(whole, paths, loadConfiguration(whole, paths, undefined), undefined);
  } catch (error) {
    if (error instanceof ConfigError) return error.toString().replaceAll(directory, "");
    throw error;
  }
  return "taken";
}

const RESOLVER = "resolver 127.0.0.1;";
const URI = "uri https://acme.test/dir;";
const issuer = (inside: string) => `${RESOLVER}\nacme_issuer one {\n${inside}\n}`;
const server = (inside: string, http = issuer(URI)) => `${http}\nserver { listen 8080;\n${inside}\n}`;

const VERDICTS: readonly (readonly [http: string, verdict: string])[] = [
  [
    issuer(
      `${URI} account_key ecdsa:384; challenge http; contact a@b.test; contact tel:1; profile short require;
      external_account_key kid data:c2VjcmV0; preferred_chain Root; ssl_verify off; state_path off;
      common_name_in_csr on; accept_terms_of_service;`,
    ),
    "taken",
  ],
  [`${RESOLVER} acme_shared_zone zone=a:64k;`, "taken"],
  [server("acme_certificate one .example.test 192.0.2.1 key=rsa:3072;"), "taken"],
  [server('server_name "" ~^a$ .example.test; acme_certificate one;'), "taken"],
  [`acme_issuer one { ${URI} }`, 'acme_issuer: "resolver" is not configured in nginx.conf:3'],
  [issuer(""), 'acme_issuer: "uri" is missing in nginx.conf:6'],
  [issuer("uri nothing;"), '"uri" directive invalid value in nginx.conf:5'],
  [issuer(`${URI}\n${URI}`), '"uri" directive is duplicate in nginx.conf:6'],
  [issuer(`${URI} account_key ecdsa:234;`), "account_key: unsupported curve in nginx.conf:5"],
  [issuer(`${URI} account_key rsa:1024;`), "account_key: unsupported key size in nginx.conf:5"],
  [
    issuer(`${URI} account_key none.key;`),
    'acme_issuer: cannot load account key: open() "none.key" failed (2: No such file or directory) in nginx.conf:5',
  ],
  [
    issuer(`${URI} ssl_trusted_certificate empty.crt;`),
    'acme_issuer: cannot load trusted certificate: no certificate in "empty.crt" in nginx.conf:5',
  ],
  [issuer(`${URI} challenge dns-01;`), "unsupported challenge: dns-01 in nginx.conf:5"],
  [issuer(`${URI} contact "";`), '"contact" directive invalid value in nginx.conf:5'],
  [issuer(`${URI} contact \xff;`), '"contact" directive invalid value in nginx.conf:5'],
  [issuer(`${URI} profile a b;`), '"profile" directive invalid value in nginx.conf:5'],
  [
    issuer(`${URI} external_account_key kid data:a+b;`),
    '"external_account_key" directive invalid base64url encoded value in nginx.conf:5',
  ],
  [
    issuer(`${URI} external_account_key kid none;`),
    'external_account_key: open() "none" failed (2: No such file or directory) in nginx.conf:5',
  ],
  [issuer(`${URI} listen 80;`), '"listen" directive is not allowed here in nginx.conf:5'],
  [`${issuer(URI)} acme_issuer one { ${URI} }`, '"acme_issuer" directive is duplicate in nginx.conf:6'],
  ["acme_shared_zone a;", '"acme_shared_zone" must have "zone" parameter in nginx.conf:3'],
  ["acme_shared_zone zone=a:b;", 'acme_shared_zone: invalid zone size "a:b" in nginx.conf:3'],
  ["acme_shared_zone zone=a:4k;", "acme_shared_zone: zone a is too small in nginx.conf:3"],
  [
    "limit_conn_zone $uri zone=a:64k; acme_shared_zone zone=a:64k;",
    'the shared memory zone "a" is already declared for a different use in nginx.conf:3',
  ],
  [server('acme_certificate "";'), '"acme_certificate" directive "issuer" is missing in nginx.conf:8'],
  [server("acme_certificate other a.test;"), 'issuer "other" is missing in nginx.conf:8'],
  [server("acme_certificate one a.test key=file;"), '"acme_certificate" directive invalid "key" value in nginx.conf:8'],
  [server("acme_certificate one key=rsa:1;"), "acme_certificate: unsupported key size in nginx.conf:8"],
  [
    server("acme_certificate one a..test;"),
    "acme_certificate: invalid server name: unexpected character '.' at position 2 in nginx.conf:8",
  ],
  [
    server("server_name www.example.*; acme_certificate one;"),
    "\"acme_certificate\": invalid server name: unexpected character '*' at position 12 in nginx.conf:8",
  ],
  [
    server("server_name ~a; acme_certificate one;"),
    '"acme_certificate": no identifiers found in "server_name" in nginx.conf:8',
  ],
  [
    server("acme_certificate one a.test; acme_certificate one;"),
    '"acme_certificate" directive is duplicate in nginx.conf:8',
  ],
];

describe("ACME directives", () => {
  for (const [http, expected] of VERDICTS) {
    test(expected === "taken" ? http.replaceAll(/\s+/g, " ").slice(-50) : expected, async () => {
      assert.equal(await verdict(http), expected);
    });
  }

  test("a key that is none is refused, without what is in the file", async () => {
    const said = await verdict(issuer(`${URI} account_key empty.key;`));
    assert.match(said, /^acme_issuer: cannot load account key: error:[^\n]* in "empty\.key" in nginx\.conf:5$/);
    assert.ok(!said.includes("no key"));
  });
});
