import type { Request } from "../request.ts";
import type { VariableSpec } from "../variables.ts";

/** X-Forwarded-For of the client with its address appended ($proxy_add_x_forwarded_for). */
function forwardedFor(request: Request): string {
  const { remote } = request.connection;
  const address = remote.family === "unix" ? "unix:" : remote.host;
  const before = request.headers.join("x-forwarded-for");
  return before === undefined ? address : `${before}, ${address}`;
}

export const proxyVariables: Readonly<Record<string, VariableSpec>> = {
  proxy_add_x_forwarded_for: { get: forwardedFor },
};
