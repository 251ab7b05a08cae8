import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ConfigError } from "../../../src/config/types.ts";
import { program } from "../../../src/program.ts";
import type { CycleData } from "../../../src/runtime/cycle.ts";
import { loadConfiguration, validateCycle } from "../../../src/runtime/master/load_cycle.ts";
import { workspace, write } from "../../config/workspace.ts";
import { have } from "../../support/have.ts";
import { refusalOf } from "../../support/reference_nginx.ts";

const REQ = "limit_req_zone $arg_a zone=one:1m rate=1r/s;";
const CONN = "limit_conn_zone $arg_a zone=one:1m;";
const inServer = (text: string) => `server {\n${text}\n}`;

/** What is refused in an http block: Holdfast must say what nginx says, with the same place. */
const REFUSED: readonly string[] = [
  "limit_req_zone $arg_a zone=one:1m;",
  "limit_req_zone $arg_a zone=one rate=1r/s;",
  "limit_req_zone $arg_a zone=one:x rate=1r/s;",
  "limit_req_zone $arg_a zone=one: rate=1r/s;",
  "limit_req_zone $arg_a zone=one:1k rate=1r/s;",
  "limit_req_zone $arg_a zone=:1m rate=1r/s;",
  "limit_req_zone $arg_a rate=1r/s rate=2r/s;",
  "limit_req_zone $arg_a zone=one:1m rate=0r/s;",
  "limit_req_zone $arg_a zone=one:1m rate=r/s;",
  "limit_req_zone $arg_a zone=one:1m rate=-1;",
  "limit_req_zone $arg_a zone=one:1m rate=1r/h;",
  "limit_req_zone $arg_a zone=one:1m speed=1;",
  "limit_req_zone $ zone=one:1m rate=1r/s;",
  "limit_req_zone $nothing zone=one:1m rate=1r/s;",
  `${REQ}\nlimit_req_zone $arg_b zone=one:1m rate=1r/s;`,
  `${REQ}\nlimit_req_zone $arg_a zone=one:2m rate=1r/s;`,
  `${REQ}\n${CONN}`,
  `${REQ}\n${inServer("limit_req zone=one;\nlimit_req zone=one burst=2;")}`,
  `${REQ}\n${inServer("limit_req burst=2;")}`,
  `${REQ}\n${inServer("limit_req zone=one burst=0;")}`,
  `${REQ}\n${inServer("limit_req zone=one burst=x;")}`,
  `${REQ}\n${inServer("limit_req zone=one delay=0;")}`,
  `${REQ}\n${inServer("limit_req zone=one delay;")}`,
  `${REQ}\n${inServer("limit_req one;")}`,
  `${REQ}\n${inServer("limit_req zone=one a b c;")}`,
  `${REQ}\n${inServer("limit_req_status 399;")}`,
  `${REQ}\n${inServer("limit_req_status 600;")}`,
  `${REQ}\n${inServer("limit_req_log_level debug;")}`,
  `${REQ}\n${inServer("limit_req_dry_run yes;")}`,
  `${REQ}\n${inServer("location / { if ($uri) {\nlimit_req zone=one; } }")}`,
  `${REQ}\n${inServer("limit_conn one 1;")}`,
  inServer("limit_req zone=none;"),
  "limit_conn_zone $arg_a;",
  "limit_conn_zone $arg_a zone=one;",
  "limit_conn_zone $arg_a zone=one:1x;",
  "limit_conn_zone $arg_a zone=one:31k;",
  "limit_conn_zone $arg_a rate=1r/s;",
  `${CONN}\nlimit_conn_zone $arg_b zone=one:1m;`,
  `${CONN}\n${inServer("limit_conn one 1;\nlimit_conn one 2;")}`,
  `${CONN}\n${inServer("limit_conn one 0;")}`,
  `${CONN}\n${inServer("limit_conn one -1;")}`,
  `${CONN}\n${inServer("limit_conn one 65536;")}`,
  `${CONN}\n${inServer("limit_conn one;")}`,
  `${CONN}\n${inServer("limit_conn_status 200;")}`,
  `${CONN}\n${inServer("limit_conn_log_level crit;")}`,
  `${CONN}\nupstream u { zone one 1m; server 127.0.0.1; }`,
  inServer("limit_conn none 1;"),
];

const directory = workspace();

const nginxSays = (text: string) => comparable(refusalOf(directory, text));

/** For an unknown variable nginx knows no place; Holdfast says it. */
function comparable(sentence: string): string {
  return sentence.replace(/^(unknown "\w+" variable) in .*:\d+$/, "$1");
}

async function load(text: string, previous?: CycleData): Promise<CycleData | string> {
  const confFile = write(directory, "nginx.conf", `events {}\nhttp {\n${text}\n}\n`);
  const paths = { prefix: directory, confPrefix: directory, confFile, errorLog: "/dev/null" };
  const whole = program();
  try {
    return (await validateCycle(whole, paths, loadConfiguration(whole, paths, undefined), previous)).cycle.data;
  } catch (error) {
    if (error instanceof ConfigError) return comparable(error.toString());
    throw error;
  }
}

describe("what is refused is refused in nginx's words", { skip: have("nginx") }, () => {
  for (const http of REFUSED) {
    test(http.replaceAll("\n", " "), async () => {
      assert.equal(await load(http), nginxSays(`events {}\nhttp {\n${http}\n}\n`));
    });
  }
});

test("a zone may be named before it is declared", async () => {
  assert.equal(typeof (await load(`${inServer("limit_req zone=one;")}\n${REQ}`)), "object");
});

test("a reload refuses a zone under another key, unless its size has changed too", async () => {
  for (const [directive, more, words] of [
    ["limit_req_zone", "rate=1r/s", 'limit_req "one"'],
    ["limit_conn_zone", "", 'limit_conn_zone "one"'],
  ]) {
    const first = await load(`${directive} $arg_a zone=one:1m ${more};`);
    assert.ok(typeof first === "object");
    assert.equal(
      await load(`${directive} $arg_b zone=one:1m ${more};`, first),
      `${words} uses the "$arg_b" key while previously it used the "$arg_a" key`,
    );
    assert.equal(typeof (await load(`${directive} $arg_b zone=one:2m ${more};`, first)), "object");
    assert.equal(typeof (await load(`${directive} $arg_a zone=one:1m ${more};`, first)), "object");
  }
});
