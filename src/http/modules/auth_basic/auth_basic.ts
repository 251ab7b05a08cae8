import fs from "node:fs";
import type { Context } from "../../../config/types.ts";
import { errorCode, errorText } from "../../../sys/errno.ts";
import { boundary } from "../../../sys/guard.ts";
import { osPath } from "../../../sys/paths.ts";
import { basicCredentials } from "../../../wire/basic_auth.ts";
import { HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { CLIENT_CLOSED_REQUEST, DECLINED, DONE, OK } from "../../core/codes.ts";
import { finalizeRequest, runPhases } from "../../core/engine.ts";
import { logClientGone, logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { oneTemplate } from "../../core/script.ts";
import type { Handler } from "../../core/types.ts";
import { storedPassword, type Verdict } from "./crypt.ts";
import { PasswordChecks, Waiting } from "./password_check.ts";

/** One for all configurations: its cache outlives a reload. */
const checks = new PasswordChecks();
/** While `compare` resumes a request's phases: the result it waited for. */
let compared: { readonly password: string; readonly stored: string; readonly verdict: Verdict } | undefined;

const CONTEXTS: readonly Context[] = [...HTTP_LOCATION, "limit_except"];

/** ngx_http_auth_basic_module: HTTP Basic authentication (RFC 7617). */
export const authBasic = defineModule({
  name: "http_auth_basic",
  directives: {
    auth_basic: oneTemplate({
      in: CONTEXTS,
      syntax: "string | off",
      doc: "Asks for a user name and password; the string is the realm a browser shows.",
      defaultText: "off",
    }),
    auth_basic_user_file: oneTemplate({
      in: CONTEXTS,
      syntax: "file",
      doc: "The file of users, `name:password` a line, relative to the configuration file; read anew for each request.",
    }),
  },
  build({ auth_basic: realm, auth_basic_user_file: file }, { http }): Handler | undefined {
    if (realm === undefined || file === undefined || realm.constant === "off") return undefined;
    const pathOf = (request: Request): string => http.cycle.path(file.render(request), "conf");
    return (request) => authenticate(request, realm.render(request), pathOf);
  },
  access: (handler) => handler,
});

function authenticate(request: Request, realm: string, pathOf: (request: Request) => string): number {
  if (realm === "off") return DECLINED;
  const credentials = basicCredentials(request.headers.get("authorization"));
  if (credentials === undefined) {
    logError(request, "info", "no user/password was provided for basic authentication");
    return challenge(request, realm);
  }
  const path = pathOf(request);
  let text: string;
  try {
    text = fs.readFileSync(osPath(path), "latin1");
  } catch (error) {
    const code = errorCode(error);
    const missing = code === "ENOENT";
    logError(request, missing ? "error" : "crit", `open() "${path}" failed (${errorText(code)})`);
    return missing ? 403 : 500;
  }
  const { user, password } = credentials;
  const stored = storedPassword(text, user);
  if (stored === undefined) {
    logError(request, "error", `user "${user}" was not found in "${path}"`);
    return challenge(request, realm);
  }
  const verdict = compare(request, password, stored);
  if (verdict === "busy") {
    logError(request, "error", "too many passwords are waiting to be compared");
    return 503;
  }
  if (verdict instanceof Waiting) {
    waitFor(request, verdict);
    return DONE;
  }
  if (verdict === undefined) {
    logError(request, "crit", "crypt_r() failed (22: Invalid argument)");
    return 500;
  }
  if (verdict) return OK;
  logError(request, "error", `user "${user}": password mismatch`);
  return challenge(request, realm);
}

/** The verdict, or a `Waiting` after which the phases run this handler again. */
function compare(request: Request, password: string, stored: string): Verdict | Waiting | "busy" {
  // The cache may have lost the verdict meanwhile, and keeps none for unknown kinds of hashes.
  if (compared?.password === password && compared.stored === stored) return compared.verdict;
  const { remote } = request;
  const client = remote.family === "unix" ? "" : remote.host;
  const done = (verdict: Verdict): void => {
    request.onAbort = undefined;
    if (request.finalized) return;
    compared = { password, stored, verdict };
    try {
      runPhases(request);
    } finally {
      compared = undefined;
    }
  };
  return checks.check(password, stored, client, boundary(request, done));
}

function waitFor(request: Request, waiting: Waiting): void {
  request.cleanup ??= [];
  request.cleanup.push(() => waiting.cancel());
  request.onAbort = () => {
    waiting.cancel();
    logClientGone(request);
    finalizeRequest(request, CLIENT_CLOSED_REQUEST);
  };
}

function challenge(request: Request, realm: string): number {
  request.response.headers.append("WWW-Authenticate", `Basic realm="${realm}"`);
  return 401;
}
