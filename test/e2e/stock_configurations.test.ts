/** Configurations as packages install them, unchanged. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { have } from "../support/have.ts";
import { runHoldfast } from "../support/holdfast.ts";

const STOCK = "/etc/nginx/nginx.conf";

function skip(): false | string {
  const missing = have("nginx");
  if (missing !== false) return missing;
  return process.getuid?.() === 0 ? false : "its log files belong to root";
}

test("Debian's nginx.conf, with its sites and snippets, passes -t", { skip: skip() }, async (t) => {
  const { code, stderr } = await runHoldfast(t, { args: ["-t", "-c", STOCK] });
  assert.equal(
    stderr,
    `holdfast: the configuration file ${STOCK} syntax is ok\nholdfast: configuration file ${STOCK} test is successful\n`,
  );
  assert.equal(code, 0);
});
