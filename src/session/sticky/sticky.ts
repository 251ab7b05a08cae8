import { wrapMethod, wrapping } from "../../balancer/directives.ts";
import { directive } from "../../config/directives.ts";
import { fail, ownValue, type Scope } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { defineModule } from "../../http/conf/module.ts";
import { registerSynced } from "../../http/conf/synced.ts";
import type { Stickiness } from "../../http/core/upstream.ts";
import { openMainLog } from "../../runtime/log/directive.ts";
import { readCookie } from "./cookie.ts";
import { StickyKeeper } from "./keeper.ts";
import { Learn, readLearn } from "./learn.ts";
import { readRoute } from "./route.ts";
import { sharedSessions } from "./shared_sessions.ts";
import { sidOf } from "./sid.ts";

const spec = directive<Stickiness, undefined>({
  in: ["upstream"],
  args: [2, Number.POSITIVE_INFINITY],
  syntax:
    "cookie name [expires=time|max] [domain=domain] [path=path] [secure] [httponly] [samesite=strict|lax|none] | route $variable … | learn create=$variable … lookup=$variable … zone=name:size [timeout=time] [header] [snapshot=directory|off] [sync]",
  doc: "Passes the requests of one client to one server as long as that can be had; else the balancing method, which stands before it, chooses another one, and the session is that one's from then on. A server whose checks fail is never had, nor one that `down`, `max_fails` or `max_conns` exclude. `cookie` sends the client a cookie that names its server: the server's `route`, or the MD5 of its address. Every response has it. `route` takes the server's route from the first of the variables that is not empty. `learn` learns from answers: once one is complete (with `header`: once its head has come), the first of the `create` variables that is not empty, such as `$upstream_cookie_SESSION`, is the id of a session of the server that answered, and requests whose `lookup` variable has that id go there. Sessions are kept in a zone that all workers share (1m: some 10,000 sessions) until they have not been used for `timeout` (10m). They outlive a reload, also one with another size, an upgrade and a restart: the checker writes them, each id as its MD5, to `snapshot`/NAME.snapshot (sticky_sessions/ under the prefix) when it stops, and every five seconds in which some have changed. With `sync` the nodes of a `cluster` with a `store` have the same sessions: a new one, or one that has another server, is told to the others within some 100 ms, that it was used within an eighth of `timeout`.",
  initial: () => undefined,
  read(at, scope) {
    const made = readMethod(at, scope);
    wrapMethod(at, scope);
    return made;
  },
});

function readMethod(at: Directive, scope: Scope): Stickiness {
  const [method] = at.args;
  switch (method) {
    case "cookie":
      return readCookie(at, scope);
    case "route":
      return readRoute(at, scope);
    case "learn":
      return readLearn(at, scope);
    default:
      return fail(at, `unknown parameter "${method}"`);
  }
}

/** ngx_http_upstream_sticky_module: binds clients to servers. */
export const sticky = defineModule({
  name: "http_upstream_sticky",
  directives: { sticky: spec },
  setup({ cycle, scope, upstreams, workers, checkers, directories }) {
    const log = openMainLog(cycle);
    const learns: Learn[] = [];
    for (const block of scope.children) {
      // A balancing method behind it is in its place (nginx warns of that).
      if (block.context !== "upstream" || wrapping(block)?.name !== "sticky") continue;
      const entry = upstreams.named(block.directive.args[0]);
      if (entry === undefined) continue;
      entry.sticky = ownValue(block, spec);
      entry.group.identify(sidOf);
      if (entry.sticky instanceof Learn) learns.push(entry.sticky);
    }
    for (const learn of learns) {
      learn.open(cycle, log);
      const shared = sharedSessions(learn);
      if (shared !== undefined) registerSynced(cycle, shared);
      if (learn.directory !== undefined) directories.add(learn.directory);
      workers.push({ enter: () => learn.enter(log), forget() {} });
    }
    if (learns.length === 0) return;
    checkers.push({ name: "http_upstream_sticky", check: (previous) => new StickyKeeper(learns, log, previous) });
  },
});
