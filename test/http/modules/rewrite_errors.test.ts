import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ConfigError } from "../../../src/config/types.ts";
import { program } from "../../../src/program.ts";
import { loadConfiguration, validateCycle } from "../../../src/runtime/master/load_cycle.ts";
import { workspace, write } from "../../config/workspace.ts";
import { have } from "../../support/have.ts";
import { refusalOf } from "../../support/reference_nginx.ts";

/** What may stand in an http block and is refused: Holdfast must say what nginx says, with the same place. */
const inServer = (text: string) => `server {\n${text}\n}`;
const inLocation = (text: string) => inServer(`location / {\n${text}\n}`);

const REFUSED: readonly (readonly [name: string, http: string])[] = [
  ["rewrite: empty replacement", inServer('rewrite a "";')],
  ["rewrite: unknown flag", inServer("rewrite a b once;")],
  ["rewrite: broken regex", inServer("rewrite (a b;")],
  ["rewrite: variable without a name", inServer("rewrite a /b$;")],
  ["rewrite: variable before the arguments", inServer("rewrite a /b$?c=d;")],
  ["rewrite: open bracket", inServer(`rewrite a "/b\${c";`)],
  ["rewrite: unknown variable", inServer("rewrite a /b$nothing;")],
  ["rewrite: too few arguments", inServer("rewrite a;")],
  ["rewrite in http", "rewrite a b;"],
  ["rewrite: group named as a fixed variable", inServer("rewrite (?<uri>a) b;")],
  ["return: no code", inServer("return text;")],
  ["return: code too high", inServer("return 1000;")],
  ["return: text for a URL", inServer("return https://a b;")],
  ["return: empty code", inServer('return "";')],
  ["return: negative", inServer("return -1;")],
  ["return: three arguments", inServer("return 200 a b;")],
  ["return: unknown variable", inLocation("return 200 $nothing;")],
  ["set: no dollar", inServer("set a b;")],
  ["set: no name", inServer("set $ b;")],
  ["set: fixed variable", inServer("set $uri b;")],
  ["set: fixed variable in upper case", inServer("set $URI b;")],
  ["set: one argument", inServer("set $a;")],
  ["set: unknown variable in the value", inLocation("set $a $nothing;")],
  ["break with an argument", inServer("break a;")],
  ["if: no parenthesis", inServer("if $uri { }")],
  ["if: no closing parenthesis", inServer("if ($uri { }")],
  ["if: nothing", inServer("if () { }")],
  ["if: spaces only", inServer("if ( ) { }")],
  ["if: no variable", inServer("if (a) { }")],
  ["if: two words", inServer("if ($uri b) { }")],
  ["if: four words", inServer("if ($uri = b c) { }")],
  ["if: unknown operator", inServer("if ($uri == b) { }")],
  ["if: unknown operator of three letters", inServer("if ($uri !~~ b) { }")],
  ["if: unknown file test", inServer("if (-z b) { }")],
  ["if: unknown negated file test", inServer("if (!-z b) { }")],
  ["if: file test without a file", inServer("if (-f) { }")],
  ["if: file test with two files", inServer("if (-f a b) { }")],
  ["if: broken regex", inServer("if ($uri ~ a(b) { }")],
  ["if: unknown variable", inServer("if ($nothing) { }")],
  ["if: variable in brackets", inServer(`if ("\${uri}") { }`)],
  ["if: dollar alone", inServer("if ($) { }")],
  ["if in http", "if ($uri) { }"],
  ["if in if", inServer("if ($uri) { if ($uri) { } }")],
  ["if: no block", inServer("if ($uri);")],
  ["error within if", inLocation("if ($uri) {\n return text;\n}")],
  ["rewrite_log twice", inServer("rewrite_log on; rewrite_log off;")],
  ["map: no variable", "map $uri x { a b; }"],
  ["map: no name", "map $uri $ { a b; }"],
  ["map: fixed variable", "map $uri $host { a b; }"],
  ["map: one argument", "map $uri { a b; }"],
  ["map: words of a line", "map $uri $x {\n a;\n}"],
  ["map: three words", "map $uri $x {\n a b c;\n}"],
  ["map: two defaults", "map $uri $x {\n default a;\n default b;\n}"],
  ["map: key twice", "map $uri $x {\n a b;\n A c;\n}"],
  ["map: wrong wildcard", "map $host $x {\n hostnames;\n a.*.b c;\n}"],
  ["map: wildcard twice", "map $host $x {\n hostnames;\n *.a b;\n *.a c;\n}"],
  ["map: broken regex", "map $uri $x {\n ~(a b;\n}"],
  ["map: unknown source", `map $nothing $x { }\n${inLocation("return 200 $x;")}`],
  ["map: unknown value", "map $uri $x {\n a $nothing;\n}"],
  ["map in server", inServer("map $uri $x { }")],
  ["split_clients: no variable", "split_clients $uri x { * a; }"],
  ["split_clients: fixed variable", "split_clients $uri $host { * a; }"],
  ["split_clients: no percent sign", "split_clients $uri $x {\n 10 a;\n}"],
  ["split_clients: three decimals", "split_clients $uri $x {\n 10.123% a;\n}"],
  ["split_clients: zero", "split_clients $uri $x {\n 0% a;\n}"],
  ["split_clients: over a hundred", "split_clients $uri $x {\n 60% a;\n 60% b;\n}"],
  ["split_clients: something after the rest", "split_clients $uri $x {\n * a;\n 1% b;\n}"],
  ["try_files: one argument", inLocation("try_files $uri;")],
  ["try_files: no number", inLocation("try_files $uri =a;")],
  ["try_files: number too high", inLocation("try_files $uri =1000;")],
  ["try_files: no digits", inLocation("try_files $uri =;")],
  ["try_files twice", inLocation("try_files a b; try_files a b;")],
  ["try_files in if", inLocation("if ($uri) { try_files a b; }")],
  ["try_files: unknown variable", inLocation("try_files $nothing b;")],
];

const directory = workspace();

const nginxSays = (text: string) => comparable(refusalOf(directory, text));

async function holdfastSays(text: string): Promise<string> {
  const confFile = write(directory, "nginx.conf", text);
  const paths = { prefix: directory, confPrefix: directory, confFile, errorLog: "/dev/null" };
  const whole = program();
  try {
    await validateCycle(whole, paths, loadConfiguration(whole, paths, undefined), undefined);
  } catch (error) {
    if (error instanceof ConfigError) return comparable(error.toString());
    throw error;
  }
  return "no error";
}

/**
 * PCRE words its own errors, and differently from version to version: what nginx says around them counts. For an unknown
 * variable nginx knows no place; Holdfast says it.
 */
function comparable(sentence: string): string {
  return sentence
    .replace(/^(pcre2_compile\(\) failed: ).*?( in ")/, "$1…$2")
    .replace(/^(unknown "\w+" variable) in .*:\d+$/, "$1");
}

describe("what the rewrite modules refuse is refused in nginx's words", { skip: have("nginx") }, () => {
  for (const [name, http] of REFUSED) {
    test(name, async () => {
      const text = `events {}\nhttp {\n${http}\n}\n`;
      assert.equal(await holdfastSays(text), nginxSays(text));
    });
  }
});
