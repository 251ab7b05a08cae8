import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { ConfigError, placeText } from "../../src/config/types.ts";
import { program } from "../../src/program.ts";
import { loadConfiguration, validateCycle } from "../../src/runtime/master/load_cycle.ts";
import { workspace, write } from "../config/workspace.ts";
import { have } from "./have.ts";
import { assertAsNginx, type Said } from "./recorded_nginx.ts";
import { NGINX } from "./reference_nginx.ts";

/** A name, and what stands in an http block. */
export type SentenceCase = readonly [name: string, http: string];

/**
 * Tests that Holdfast warns of and refuses http blocks in nginx's words, with the same places. `files`: what they may include.
 */
export function describeSentences(
  what: string,
  cases: readonly SentenceCase[],
  files: Readonly<Record<string, string>> = {},
): void {
  const directory = workspace();
  for (const [name, text] of Object.entries(files)) write(directory, name, text);
  describe(`${what}: warned of and refused in nginx's words`, { skip: have("nginx") }, () => {
    for (const [name, http] of cases) {
      test(name, async () => {
        const confFile = write(directory, "nginx.conf", `events {}\nhttp {\n${http}\n}\n`);
        const said = await holdfastSays(directory, confFile);
        const expected = nginxSays(directory, confFile);
        if ("warnings" in said) assert.deepEqual(said.warnings, expected);
        else assert.equal(comparable(said.error), comparable(expected[expected.length - 1]));
      });
    }
  });
}

/** The same with nginx of the version that is followed; `name`: of the file in test/recorded. */
export function describeFollowedSentences(
  name: string,
  cases: readonly SentenceCase[],
  files: Readonly<Record<string, string>> = {},
  others: Readonly<Record<string, string>> = {},
): void {
  const directory = workspace();
  for (const [path, text] of Object.entries(files)) write(directory, path, text);
  test(`${name}: warned of and refused in nginx's words`, async () => {
    const askAll = async (ask: (confFile: string) => Promise<readonly string[]>): Promise<Said> => {
      const said = new Map<string, string[]>();
      for (const [what, http] of cases) {
        const lines = await ask(write(directory, "nginx.conf", `events {}\nhttp { access_log off;\n${http}\n}\n`));
        said.set(
          what,
          lines.map((line) => comparable(line.replaceAll(directory, "PREFIX"))),
        );
      }
      return said;
    };
    const said = await askAll(async (confFile) => {
      const ours = await holdfastSays(directory, confFile);
      return "warnings" in ours ? ours.warnings : [ours.error];
    });
    const ask = (binary: string) =>
      askAll(async (confFile) => {
        const { sentences, refused } = nginxSaysAll(directory, confFile, binary);
        return refused ? sentences.slice(-1) : sentences;
      });
    await assertAsNginx(name, said, ask, others);
  });
}

const SAID = /\[(?:warn|emerg)\] (?:\d+#\d+: )?(.*)/g;

function nginxSays(directory: string, confFile: string): string[] {
  return nginxSaysAll(directory, confFile).sentences;
}

function nginxSaysAll(
  directory: string,
  confFile: string,
  binary = NGINX ?? "nginx",
): { readonly sentences: string[]; readonly refused: boolean } {
  const args = ["-t", "-q", "-e", "/dev/null", "-p", directory, "-c", confFile, "-g", `pid ${directory}/nginx.pid;`];
  const { stderr, status } = spawnSync(binary, args, { encoding: "latin1", timeout: 20_000 });
  const sentences = [...stderr.matchAll(SAID)].map(([, sentence]) => sentence);
  return {
    sentences: sentences.filter((sentence) => !sentence.startsWith('the "user" directive')),
    refused: status !== 0,
  };
}

/** The warnings, or the first error: there may have been warnings before it, which only nginx says. */
async function holdfastSays(
  directory: string,
  confFile: string,
): Promise<{ readonly warnings: readonly string[] } | { readonly error: string }> {
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

/** For an unknown variable nginx knows no place, nor for what OpenSSL and the modules that use it say. */
function comparable(sentence: string): string {
  return sentence.replace(/^(unknown "\w+" variable|SSL_.*|cannot load .*|no "?\w+_ssl_\w+"? .*) in .*:\d+$/, "$1");
}
