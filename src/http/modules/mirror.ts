import { directive, flag, refuse } from "../../config/directives.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { defineModule } from "../conf/module.ts";
import { DECLINED, DONE } from "../core/codes.ts";
import { runPhases } from "../core/engine.ts";
import { ModuleContext } from "../core/module_context.ts";
import type { Request } from "../core/request.ts";
import { readBody } from "../core/request_body.ts";
import { subrequest } from "../core/subrequest.ts";

/** Set when the body has been read and the subrequests were made: the handler's code. */
const mirrored = new ModuleContext<number>();

/** ngx_http_mirror_module: background subrequests whose answers go nowhere. */
export const mirror = defineModule({
  name: "http_mirror",
  directives: {
    mirror: directive<readonly string[]>({
      in: HTTP_LOCATION,
      args: [1, 1],
      syntax: "uri | off",
      doc: "Sends a copy of the request to another location, in a background subrequest whose answer is ignored. May be given several times.",
      initial: () => [],
      defaultText: "off",
      repeat: true,
      read(at, _scope, previous) {
        const [uri] = at.args;
        if (previous !== undefined && (uri === "off" || previous.length === 0)) refuse(at, "is duplicate");
        return uri === "off" ? [] : [...(previous ?? []), uri];
      },
    }),
    mirror_request_body: flag({
      in: HTTP_LOCATION,
      default: true,
      doc: "Reads the client's body before the subrequests are made, so that they have it too.",
    }),
  },
  precontent({ mirror: uris, mirror_request_body: withBody }) {
    if (uris.length === 0) return undefined;
    if (!withBody) return (request) => (request === request.main ? ask(request, uris) : DECLINED);
    const read = (request: Request): void => {
      mirrored.set(request, ask(request, uris));
      runPhases(request);
    };
    return (request) => {
      if (request !== request.main) return DECLINED;
      const code = mirrored.get(request);
      if (code !== undefined) return code;
      readBody(request, read);
      return DONE;
    };
  },
});

function ask(request: Request, uris: readonly string[]): number {
  for (const uri of uris) {
    const made = subrequest(request, uri, request.args, {
      background: true,
      headerOnly: true,
      method: request.method,
    });
    if (made === undefined) return 500;
  }
  return DECLINED;
}
