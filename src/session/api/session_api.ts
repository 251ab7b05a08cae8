import { directive } from "../../config/directives.ts";
import { warn } from "../../config/errors.ts";
import { fail, reachesOut, type Scope } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { defineModule } from "../../http/conf/module.ts";
import type { Request } from "../../http/core/request.ts";
import type { Handler } from "../../http/core/types.ts";
import { newId, parseId } from "../zone/session_id.ts";
import type { SessionZone } from "../zone/session_zone.ts";
import { zonesIn } from "../zone/zones.ts";
import { answerError, answerNotAllowed } from "./answer.ts";
import { ApiRequest, conditionsOf } from "./api_request.ts";

interface Api {
  readonly zone: string;
  readonly at: Directive;
}

/** `session_api`: what backends ask of sessions, and change of them, beside the requests that they answer. */
export const sessionApi = defineModule({
  name: "http_session_api",
  directives: {
    session_api: directive<Api | undefined>({
      in: ["location"],
      args: [1, 1],
      syntax: "zone",
      doc: "Serves the sessions of a zone to backends, as JSON below the location's prefix: GET, HEAD, PUT, PATCH and DELETE of `ID`, POST makes a new one, POST of `ID/renew` gives it another id, and POST of `ID/touch` begins its time anew. Versions are entity tags. Whoever reaches the location can read and change each session whose id he knows: `allow` and `deny` keep it to backends.",
      initial: () => undefined,
      inherit: false,
      read(at, scope) {
        // The zone has to know from the start that sessions are also made here.
        reachesOut(scope, at);
        return { zone: at.args[0], at };
      },
    }),
  },
  build({ session_api: api }, { http, scope, location }): Handler | undefined {
    if (api === undefined) return undefined;
    const { at } = api;
    const zone = zonesIn(http.cycle).get(api.zone) ?? fail(at, `session zone "${api.zone}" is not defined`);
    if (location.kind !== "prefix") fail(at, '"session_api" must be in a location given by a prefix');
    if (!isGuarded(scope)) {
      warn(
        at,
        scope,
        '"session_api" is open to everybody: "allow" and "deny" keep it to backends ("allow all" says that this is meant)',
      );
    }
    zone.backendsWrite = true;
    return apiHandler(zone, location.name);
  },
  content: (handler) => handler,
});

const GUARDS: ReadonlySet<string> = new Set(["allow", "deny", "auth_basic", "auth_request"]);

/** Whether something in or around a location says who may use it. */
function isGuarded(scope: Scope): boolean {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    if (at.order.some(({ directive: { name, args } }) => GUARDS.has(name) && args[0] !== "off")) return true;
  }
  return false;
}

function apiHandler(zone: SessionZone, prefix: string): Handler {
  const base = prefix.endsWith("/") ? prefix : `${prefix}/`;
  return (request) => serve(request, zone, base);
}

function serve(request: Request, zone: SessionZone, base: string): number {
  const conditions = conditionsOf(request);
  if (typeof conditions === "string") return answerError(request, 400, conditions);
  const rest = request.uri.slice(base.length);
  if (rest === "") {
    if (request.method !== "POST") return answerNotAllowed(request, "POST");
    return new ApiRequest(request, zone, base, newId(), conditions).begin("new");
  }
  const [text, action, ...more] = rest.split("/", 3);
  const id = parseId(text);
  if (id === undefined || !request.uri.startsWith(base)) {
    return answerError(
      request,
      400,
      "below the location a session's id is asked for, 22 characters as in X-Session-Id",
    );
  }
  if (more.length > 0) return answerError(request, 404, "there is renew and touch below a session's id");
  return new ApiRequest(request, zone, base, id, conditions).begin(action);
}
