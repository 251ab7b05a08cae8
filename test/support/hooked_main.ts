/**
 * Holdfast with two modules more: `hooks on` and `hooks_after on` do on the way through an upstream what the request's fields
 * ask for.
 */

import { fileURLToPath } from "node:url";
import { flag } from "../../src/config/directives.ts";
import { defineModule, type HttpModule } from "../../src/http/conf/module.ts";
import { httpProgram } from "../../src/http/conf/program.ts";
import { DONE, OK } from "../../src/http/core/codes.ts";
import { finalizeRequest, sendText } from "../../src/http/core/engine.ts";
import { logError } from "../../src/http/core/log_context.ts";
import type { Request } from "../../src/http/core/request.ts";
import type { PeerChoice, UpstreamHook } from "../../src/http/core/upstream.ts";
import { run } from "../../src/runtime/start.ts";
import { boundary } from "../../src/sys/guard.ts";
import { headText } from "../../src/wire/head_text.ts";

/** Bytes that the body's hook has seen. */
const seen = new WeakMap<Request, number>();

/** What hooks wait with, for `release`. */
const held: (() => void)[] = [];

/**
 * `peer: 1` prefers a server at once, `peer-later: 1` in a while, `peer-held: 1` when another request says `release: on`;
 * `peer-code: 503` ends the request.
 */
function peer(request: Request, choice: PeerChoice): number {
  const { headers } = request;
  if (headers.has("release")) for (const answer of held.splice(0)) answer();
  const later = headers.get("peer-later") ?? headers.get("peer-held");
  if (later !== undefined) {
    const answer = boundary(request, () => {
      choice.preferred = Number(later);
      choice.proceed();
      // A store that answers twice changes nothing.
      choice.proceed();
      logError(request, "notice", "the hook has proceeded");
    });
    if (headers.has("peer-held")) held.push(answer);
    else setTimeout(answer, 1);
    return DONE;
  }
  const preferred = headers.get("peer");
  if (preferred !== undefined) choice.preferred = Number(preferred);
  return Number(headers.get("peer-code") ?? OK);
}

/**
 * `head-code: 502` ends the request; `head-take: on` answers it. `head-held: 0` has it wait, until another request says
 * `release: on`; `head-held: 503` ends it then.
 */
function head(request: Request): number {
  const { headers, response, upstream } = request;
  if (headers.has("head-take")) {
    setImmediate(
      boundary(request, () => {
        upstream?.abandon();
        response.headers.clear();
        finalizeRequest(request, sendText(request, 200, headText("text/plain"), "the hook's"));
      }),
    );
    return DONE;
  }
  response.headers.append("Hook", headText(`${upstream?.server?.index} ${response.status}`));
  return hold(request, headers.get("head-held")) ?? Number(headers.get("head-code") ?? OK);
}

/** The hook behind it: `after-held: 0` is what `head-held` is. */
function headAfter(request: Request): number {
  const { headers, response } = request;
  response.headers.append("Hook-After", headText("on"));
  return hold(request, headers.get("after-held")) ?? OK;
}

function hold(request: Request, code: string | undefined): number | undefined {
  const { upstream } = request;
  if (code === undefined || upstream === undefined) return undefined;
  held.push(
    boundary(request, () => {
      if (code === "0" || upstream.ended) upstream.proceed();
      else upstream.finalize(Number(code));
    }),
  );
  logError(request, "notice", "the head waits");
  return DONE;
}

const hook: UpstreamHook = {
  peer,
  head,
  body(request, _bytes, from, until) {
    seen.set(request, (seen.get(request) ?? 0) + until - from);
  },
  end(request, complete) {
    logError(request, "notice", `hook end: ${seen.get(request) ?? 0} bytes, ${complete ? "complete" : "incomplete"}`);
  },
};

const hooked = defineModule({
  name: "hooked",
  directives: { hooks: flag({ in: ["location"], default: false, doc: "" }) },
  upstreamHook: ({ hooks }) => (hooks ? hook : undefined),
});

const after = defineModule({
  name: "hooked_after",
  directives: { hooks_after: flag({ in: ["location"], default: false, doc: "" }) },
  upstreamHook: ({ hooks_after: on }) => (on ? { head: headAfter } : undefined),
});

const modules = [hooked as HttpModule, after as HttpModule];
const program = httpProgram({ modules, tables: [], open: () => [] });
run(program, new URL(import.meta.url), fileURLToPath(new URL("../../", import.meta.url)));
