import { ModuleContext } from "../../http/core/module_context.ts";
import type { Request } from "../../http/core/request.ts";

/** What a request of a backend to the session API says in fields that are dropped from clients' requests, as those to others are. */
interface ClientFields {
  readonly version: string | undefined;
  readonly strict: string | undefined;
}

const KEPT = new ModuleContext<ClientFields>();
const NONE: ClientFields = { version: undefined, strict: undefined };

/** To be called before they are dropped. */
export function keepClientFields(request: Request): void {
  const { headers } = request;
  const version = headers.join("x-session-version");
  const strict = headers.get("x-session-strict");
  if (version !== undefined || strict !== undefined) KEPT.set(request, { version, strict });
}

export function clientFields(request: Request): ClientFields {
  return KEPT.get(request) ?? NONE;
}
