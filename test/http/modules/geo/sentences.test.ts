import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { ConfigError, placeText } from "../../../../src/config/types.ts";
import { program } from "../../../../src/program.ts";
import { loadConfiguration, validateCycle } from "../../../../src/runtime/master/load_cycle.ts";
import { workspace, write } from "../../../config/workspace.ts";
import { have } from "../../../support/have.ts";
import { NGINX } from "../../../support/reference_nginx.ts";

/** What may stand in an http block: Holdfast must warn and refuse in nginx's words, with the same places. */
const CASES: readonly (readonly [name: string, http: string])[] = [
  ["no variable", "geo { }"],
  ["three arguments", "geo $a $b $c { }"],
  ["no dollar", "geo a { }"],
  ["no dollar in the address", "geo a $b { }"],
  ["no dollar after the address", "geo $remote_addr b { }"],
  ["a dollar alone", "geo $ { }"],
  ["an address without a name", "geo $ $b { }"],
  ["an unknown address", "geo $nothing $b { }"],
  ["a fixed variable", "geo $uri { }"],
  ["no block", "geo $a;"],
  ["in a server", "server { geo $a { } }"],
  ["a block in it", "geo $a {\n 10.0.0.0/8 {\n }\n}"],
  ["no value", "geo $a {\n 10.0.0.0/8;\n}"],
  ["two values", "geo $a {\n 10.0.0.0/8 a b;\n}"],
  ["include of nothing", "geo $a {\n include;\n}"],
  ["include of two", "geo $a {\n include a b;\n}"],
  ["include of a missing file", "geo $a {\n include missing;\n}"],
  ["an error in an included file", "geo $a {\n include broken;\n}"],
  ["default alone", "geo $a {\n default;\n}"],
  ["ranges with a value", "geo $a {\n ranges on;\n}"],
  ["ranges after a network", "geo $a {\n 10.0.0.0/8 a;\n ranges;\n 10.0.0.0-10.0.0.1 a;\n}"],
  ["ranges after default", "geo $a {\n default a;\n ranges;\n}"],
  [
    "ranges after a proxy",
    "geo $a {\n proxy 127.0.0.1;\n proxy_recursive;\n ranges;\n ranges;\n 10.0.0.0-10.0.0.1 a;\n}",
  ],
  ["a network in a block of ranges", "geo $a {\n ranges;\n 10.0.0.0/8 a;\n}"],
  ["a range in a block of networks", "geo $a {\n 10.0.0.0-10.0.0.1 a;\n}"],
  ["a word for a network", "geo $a {\n somewhere a;\n}"],
  ["too many bits", "geo $a {\n 10.0.0.0/33 a;\n}"],
  ["too many bits of IPv6", "geo $a {\n ::/129 a;\n}"],
  ["no bits", "geo $a {\n 10.0.0.0/ a;\n}"],
  ["255.255.255.255 with bits", "geo $a {\n 255.255.255.255/32 a;\n}"],
  ["host bits", "geo $a {\n 10.0.0.1/8 a;\n 2001:db8::1/32 b;\n delete 10.0.0.2/8;\n proxy 10.0.0.1/8;\n}"],
  ["a proxy without an address", "geo $a {\n proxy localhost;\n}"],
  ["a proxy on a unix socket", "geo $a {\n proxy unix:;\n}"],
  ["deleting nothing", "geo $a {\n delete 10.0.0.0/8;\n delete ::/64;\n 10.0.0.0/8 a;\n delete 10.0.0.0/16;\n}"],
  ["deleting twice", "geo $a {\n 10.0.0.0/8 a;\n delete 10.0.0.0/8;\n delete 10.0.0.0/8;\n}"],
  ["deleting a word", "geo $a {\n delete x;\n}"],
  ["a network twice", "geo $a {\n 10.0.0.0/8 a;\n 10.0.0.0/8 b;\n 10.0.0.1/8 b;\n ::1 a;\n ::1/128 a;\n}"],
  ["default twice", "geo $a {\n default a;\n default b;\n 0.0.0.0/0 c;\n ::/0 d;\n}"],
  ["default twice among ranges", "geo $a {\n ranges;\n default a;\n default b;\n}"],
  ["no dash", "geo $a {\n ranges;\n 10.0.0.0 a;\n}"],
  ["a range of words", "geo $a {\n ranges;\n a-b a;\n}"],
  ["a range from behind", "geo $a {\n ranges;\n 10.0.0.1-10.0.0.0 a;\n}"],
  ["a range to 255.255.255.255", "geo $a {\n ranges;\n 10.0.0.1-255.255.255.255 a;\n}"],
  ["a range of IPv6", "geo $a {\n ranges;\n ::1-::2 a;\n}"],
  ["deleting an invalid range", "geo $a {\n ranges;\n delete x;\n}"],
  ["deleting a range that is not there", "geo $a {\n ranges;\n 10.0.0.0-10.0.0.9 a;\n delete 10.0.0.0-10.0.0.8;\n}"],
  [
    "deleting a range of which a part is not there",
    "geo $a {\n ranges;\n 10.0.0.0-10.0.255.255 a;\n delete 10.0.0.0-10.1.0.0;\n}",
  ],
  ["a range twice", "geo $a {\n ranges;\n 10.0.0.0-10.2.0.9 a;\n 10.0.0.0-10.2.0.9 b;\n}"],
  ["a range that overlaps", "geo $a {\n ranges;\n 10.0.0.0-10.0.0.9 a;\n 10.0.0.5-10.0.0.12 b;\n}"],
  ["a range that contains another", "geo $a {\n ranges;\n 10.0.0.5-10.0.0.9 a;\n 10.0.0.0-10.0.0.12 b;\n}"],
  [
    "a range that overlaps in its last part",
    "geo $a {\n ranges;\n 10.3.0.0-10.3.0.9 a;\n 10.1.0.0-10.3.0.5 b;\n 10.3.0.8-10.4.0.0 c;\n}",
  ],
];

const directory = workspace();
write(directory, "broken", "10.0.0.0/8 a;\n\n10.0.0.0/8 b;\nhere c;\n");

const SAID = /\[(?:warn|emerg)\] (?:\d+#\d+: )?(.*)/g;

function nginxSays(confFile: string): string[] {
  const args = ["-t", "-q", "-e", "/dev/null", "-p", directory, "-c", confFile, "-g", `pid ${directory}/nginx.pid;`];
  const { stderr } = spawnSync(NGINX ?? "nginx", args, { encoding: "latin1", timeout: 20_000 });
  return [...stderr.matchAll(SAID)].map(([, sentence]) => sentence);
}

/** The warnings, or the first error: there may have been warnings before it, which only nginx says. */
async function holdfastSays(confFile: string): Promise<{ readonly warnings: readonly string[] } | { error: string }> {
  const paths = { prefix: directory, confPrefix: directory, confFile, errorLog: "/dev/null" };
  const whole = program();
  try {
    const { warnings } = await validateCycle(whole, paths, loadConfiguration(whole, paths, undefined), undefined);
    return { warnings: warnings.map(({ message, file, line }) => `${message} in ${placeText(file, line)}`) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { error: error.toString() };
  }
}

/** For an unknown variable nginx knows no place. */
function comparable(sentence: string): string {
  return sentence.replace(/^(unknown "\w+" variable) in .*:\d+$/, "$1");
}

describe("a geo block is warned of and refused in nginx's words", { skip: have("nginx") }, () => {
  for (const [name, http] of CASES) {
    test(name, async () => {
      const confFile = write(directory, "nginx.conf", `events {}\nhttp {\n${http}\n}\n`);
      const said = await holdfastSays(confFile);
      const expected = nginxSays(confFile).filter((sentence) => !sentence.startsWith('the "user" directive'));
      if ("warnings" in said) assert.deepEqual(said.warnings, expected);
      else assert.equal(comparable(said.error), comparable(expected[expected.length - 1]));
    });
  }
});
