import { isWrapped, wrapMethod } from "../../balancer/directives.ts";
import { directive } from "../../config/directives.ts";
import { fail, ownValue, type Scope } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { defineModule } from "../../http/conf/module.ts";
import type { Stickiness } from "../../http/core/upstream.ts";
import { readCookie } from "./cookie.ts";
import { readRoute } from "./route.ts";
import { sidOf } from "./sid.ts";

const spec = directive<Stickiness, undefined>({
  in: ["upstream"],
  args: [2, Number.POSITIVE_INFINITY],
  syntax:
    "cookie name [expires=time|max] [domain=domain] [path=path] [secure] [httponly] [samesite=strict|lax|none] | route $variable …",
  doc: "Passes the requests of one client to one server as long as that can be had; else the balancing method, which stands before it, chooses another one. `cookie` sends the client a cookie that names its server: `route` of the server, or the MD5 of its address. Every response has it. `route` takes the server's route from the first of the variables that is not empty.",
  initial: () => undefined,
  read(at, scope) {
    const made = readMethod(at, scope);
    wrapMethod(scope);
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
    default:
      return fail(at, `unknown parameter "${method}"`);
  }
}

/** ngx_http_upstream_sticky_module: binds clients to servers. */
export const sticky = defineModule({
  name: "http_upstream_sticky",
  directives: { sticky: spec },
  setup({ scope, upstreams }) {
    for (const block of scope.children) {
      // A balancing method behind it is in its place (nginx warns of that).
      if (block.context !== "upstream" || !isWrapped(block)) continue;
      const entry = upstreams.named(block.directive.args[0]);
      if (entry === undefined) continue;
      entry.sticky = ownValue(block, spec);
      entry.group.identify(sidOf);
    }
  },
});
