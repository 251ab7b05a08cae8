import { directive, list } from "../../config/directives.ts";
import { fail } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { defineModule } from "../conf/module.ts";
import { DONE, ERROR, OK } from "../core/codes.ts";
import { runPhases } from "../core/engine.ts";
import { logError } from "../core/log_context.ts";
import { ModuleContext } from "../core/module_context.ts";
import type { Request } from "../core/request.ts";
import { type Template, template, type Variable } from "../core/script.ts";
import { subrequest } from "../core/subrequest.ts";
import type { SubrequestOptions } from "../core/types.ts";

interface Assignment {
  readonly at: Directive;
  readonly name: string;
  readonly value: Template;
}

interface AuthRequest {
  readonly uri: string;
  /** `auth_request_set`: variables set when the subrequest has ended. */
  readonly set: readonly { readonly variable: Variable; readonly value: Template }[];
}

/** The authorization of one request. */
interface Asked {
  readonly subrequest: Request;
  /** 0 until it is known. */
  status: number;
}

const asked = new ModuleContext<Asked>();

/** ngx_http_auth_request_module: a subrequest decides whether the request may go on. */
export const authRequest = defineModule({
  name: "http_auth_request",
  configure: "--with-http_auth_request_module",
  directives: {
    auth_request: directive<string>({
      in: HTTP_LOCATION,
      args: [1, 1],
      syntax: "uri | off",
      doc: "Asks another location first, in a subrequest: a 2xx answer lets the request go on, 401 and 403 are passed on, anything else is an error.",
      initial: () => "off",
      read: (at) => at.args[0],
    }),
    auth_request_set: list<Assignment>({
      in: HTTP_LOCATION,
      args: [2, 2],
      syntax: "$variable value",
      doc: "Sets a variable when the authorization has ended; the value may hold variables of the subrequest, such as `$upstream_http_x_user`.",
      item(at, scope) {
        const [name] = at.args;
        if (!name.startsWith("$")) fail(at, `invalid variable name "${name}"`);
        return { at, name: name.slice(1), value: template(scope, at, at.args[1]) };
      },
    }),
  },
  build({ auth_request: uri, auth_request_set }, { http }): AuthRequest | undefined {
    const set = auth_request_set.map(({ at, name, value }) => ({
      variable: http.variables.assignable(name, at),
      value,
    }));
    return uri === "off" || uri === "" ? undefined : { uri, set };
  },
  access: (settings) => (settings === undefined ? undefined : (request) => authorize(request, settings)),
});

const OPTIONS: SubrequestOptions = {
  headerOnly: true,
  noBody: true,
  finalized(made, code) {
    const context = asked.get(made.subrequest?.parent ?? made);
    if (context !== undefined) context.status = made.response.status;
    return code;
  },
  resume: runPhases,
};

function authorize(request: Request, { uri, set }: AuthRequest): number {
  const context = asked.get(request);
  if (context === undefined) {
    const made = subrequest(request, uri, "", OPTIONS);
    if (made === undefined) return ERROR;
    asked.set(request, { subrequest: made, status: 0 });
    return DONE;
  }
  const { status } = context;
  // Even if access is refused: an error page may use them.
  for (const { variable, value } of set) assign(request, variable, value.render(context.subrequest));
  if (status === 403) return status;
  if (status === 401) {
    copyChallenges(context.subrequest, request);
    return status;
  }
  if (status >= 200 && status < 300) return OK;
  logError(request, "error", `auth request unexpected status: ${status}`);
  return 500;
}

function assign(request: Request, { index, set }: Variable, value: string): void {
  if (set === undefined) request.variables[index] = value;
  else set(request, value);
}

/** Copies the subrequest's WWW-Authenticate fields, also if its response was replaced by an error page. */
function copyChallenges({ response, upstream }: Request, request: Request): void {
  const own = response.headers.getAll("www-authenticate");
  const values = own.length > 0 ? own : (upstream?.head?.headers.getAll("www-authenticate") ?? []);
  for (const value of values) request.response.headers.append("WWW-Authenticate", value);
}
