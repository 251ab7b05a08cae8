import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ConfigError } from "../../../../src/config/types.ts";
import { program } from "../../../../src/program.ts";
import { loadConfiguration, validateCycle } from "../../../../src/runtime/master/load_cycle.ts";
import { workspace, write } from "../../../config/workspace.ts";
import { noOpenssl, selfSigned } from "../../../support/certificates.ts";
import { have } from "../../../support/have.ts";
import { refusalOf } from "../../../support/reference_nginx.ts";

/** What is refused in an http block: Holdfast must say what nginx says, with the same place. */
const REFUSED: readonly string[] = [
  "ssl_session_cache;",
  "ssl_session_cache builtin shared:one:1m off;",
  "ssl_session_cache on;",
  'ssl_session_cache "";',
  "ssl_session_cache builtin:;",
  "ssl_session_cache builtin:x;",
  "ssl_session_cache builtin:-1;",
  "ssl_session_cache shared;",
  "ssl_session_cache shared:;",
  "ssl_session_cache shared:one;",
  "ssl_session_cache shared::1m;",
  "ssl_session_cache shared:one:;",
  "ssl_session_cache shared:one:x;",
  "ssl_session_cache shared:one:-1;",
  "ssl_session_cache shared:one:1m:2m;",
  "ssl_session_cache shared:one:31k;",
  "ssl_session_cache shared:one:0;",
  "ssl_session_cache builtin none shared:one:1;",
  "ssl_session_cache shared:one:1m;\nserver { ssl_session_cache shared:one:2m; }",
  "ssl_session_cache shared:one:1m;\nlimit_req_zone $arg_a zone=one:1m rate=1r/s;",
  "limit_conn_zone $arg_a zone=one:1m;\nssl_session_cache shared:one:1m;",
  "ssl_session_timeout x;",
  "ssl_session_timeout 10ms;",
  "ssl_session_timeout 1m;\nssl_session_timeout 2m;",
  "ssl_session_tickets yes;",
  "ssl_session_tickets;",
  "ssl_session_ticket_key;",
  "ssl_session_ticket_key a b;",
  "server { location / { ssl_session_cache none; } }",
  "server { location / { ssl_session_ticket_key a; } }",
];

const ACCEPTED: readonly string[] = [
  "ssl_session_cache off;",
  "ssl_session_cache none;",
  "ssl_session_cache builtin;",
  "ssl_session_cache builtin:0;",
  "ssl_session_cache builtin:1000 shared:one:10m;",
  "ssl_session_cache shared:one:10m builtin;",
  "ssl_session_cache shared:one:32k; ssl_session_cache builtin;",
  "ssl_session_cache shared:one:32k; server { ssl_session_cache shared:one:32K; }",
  "ssl_session_cache shared:one:1m shared:two:1m;",
  "ssl_session_timeout 1d;",
  "ssl_session_timeout 0;",
  "ssl_session_tickets off; ssl_session_ticket_key one.key; ssl_session_ticket_key two.key;",
];

const directory = workspace();

async function load(http: string): Promise<string | undefined> {
  const confFile = write(directory, "nginx.conf", http);
  const paths = { prefix: directory, confPrefix: directory, confFile, errorLog: "/dev/null" };
  const whole = program();
  try {
    await validateCycle(whole, paths, loadConfiguration(whole, paths, undefined), undefined);
    return undefined;
  } catch (error) {
    if (error instanceof ConfigError) return error.toString();
    throw error;
  }
}

const config = (http: string) => `events {}\nhttp {\n${http}\n}\n`;

describe("what is refused is refused in nginx's words", { skip: have("nginx") }, () => {
  for (const http of REFUSED) {
    test(http.replaceAll("\n", " "), async () => {
      assert.equal(await load(config(http)), refusalOf(directory, config(http)));
    });
  }
});

test("what nginx accepts is accepted, where a server has TLS", { skip: noOpenssl }, async () => {
  const { certificate, key } = selfSigned("localhost");
  write(directory, "cert.pem", certificate);
  write(directory, "key.pem", key);
  write(directory, "one.key", "1".repeat(48));
  write(directory, "two.key", "2".repeat(80));
  const server = "server { listen 127.0.0.1:1 ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem; }";
  for (const http of ACCEPTED) assert.equal(await load(config(`${http}\n${server}`)), undefined, http);
});
