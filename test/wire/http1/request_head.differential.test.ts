import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { DONE, RequestHead } from "../../../src/wire/http1/request_head.ts";
import { splitTarget } from "../../../src/wire/uri.ts";
import { NGINX, type ReferenceNginx, startNginx } from "../../support/reference_nginx.ts";
import { TARGETS } from "../targets.ts";
import { LIMITS } from "./limits.ts";
import { NASTY } from "./nasty_requests.ts";

/** Our verdicts beside those of the nginx installed here, where there is one. */
const skip = NGINX === undefined ? "nginx is not installed" : false;

let nginx: ReferenceNginx | undefined;

before(async () => {
  if (NGINX === undefined) return;
  nginx = await startNginx('server { LISTEN location / { return 200 "$uri|$args|$request_uri"; } }');
});

after(() => nginx?.stop());

async function ask(raw: string): Promise<string> {
  return (await nginx?.send(raw)) ?? "";
}

test("the status of a table of nasty requests", { skip }, async () => {
  const different: string[] = [];
  for (const { raw, status, old } of NASTY) {
    if (status === 0) continue;
    const answer = await ask(raw);
    // An HTTP/0.9 answer has no status line; an error page names its own.
    const theirs = Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? /<title>(\d+)/.exec(answer)?.[1] ?? 200);
    // An escape that cannot be decoded is the path's matter, not the head's.
    const expected = old ?? status;
    const ours = expected === 1 ? (raw.includes("%zz") ? 400 : 200) : expected;
    if (theirs !== ours) different.push(`${JSON.stringify(raw)}: nginx ${theirs}, we ${ours}`);
  }
  assert.deepEqual(different, []);
});

test("path and arguments of a table of targets", { skip }, async () => {
  const head = new RequestHead(LIMITS);
  const parts = { uri: "", args: "", exten: "", quotedUri: false, plusInUri: false };
  for (const target of TARGETS) {
    const raw = `GET ${target} HTTP/1.0\r\n\r\n`;
    const answer = await ask(raw);
    const theirs = answer.startsWith("HTTP/1.1 200") ? answer.slice(answer.indexOf("\r\n\r\n") + 4) : "refused";
    head.clear();
    head.begin(LIMITS);
    const bytes = Buffer.from(raw, "latin1");
    const fine =
      head.feed(bytes, 0, bytes.length) === DONE &&
      splitTarget(head.rawUri, head.complex, head.argsAt, head.extAt, head.plus, true, parts);
    assert.equal(fine ? `${parts.uri}|${parts.args}|${head.rawUri}` : "refused", theirs, target);
  }
});
