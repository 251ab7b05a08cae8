/** The directives on how files are read: accepted and refused as nginx does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError } from "../../../src/config/types.ts";
import { program } from "../../../src/program.ts";
import { loadConfiguration, validateCycle } from "../../../src/runtime/master/load_cycle.ts";
import { workspace, write } from "../../config/workspace.ts";
import { have } from "../../support/have.ts";
import { refusalOf } from "../../support/reference_nginx.ts";

const ACCEPTED =
  "aio threads; aio_write on; directio 4m; directio_alignment 4k; output_buffers 1 128k; read_ahead 16k;";

const REFUSED: readonly string[] = [
  "aio sometimes;",
  "aio;",
  "directio 4x;",
  "directio_alignment 0x;",
  "output_buffers 0 32k;",
  "output_buffers 2 0;",
  "output_buffers 2;",
  "output_buffers 1 1k; output_buffers 1 1k;",
  "read_ahead x;",
];

const directory = workspace();

function whole(http: string): string {
  return `events {}\nhttp { ${http} server {} }\n`;
}

/** What is wrong with it; empty where nothing is. */
async function refusal(http: string): Promise<string> {
  const confFile = write(directory, "nginx.conf", whole(http));
  const paths = { prefix: directory, confPrefix: directory, confFile, errorLog: "/dev/null" };
  try {
    const application = program();
    await validateCycle(application, paths, loadConfiguration(application, paths, undefined), undefined);
    return "";
  } catch (error) {
    if (error instanceof ConfigError) return error.toString();
    throw error;
  }
}

test("what is right is accepted", async () => {
  assert.equal(await refusal(ACCEPTED), "");
});

for (const http of REFUSED) {
  test(`refused in nginx's words: ${http}`, { skip: have("nginx") }, async () => {
    assert.equal(await refusal(http), refusalOf(directory, whole(http)));
  });
}
