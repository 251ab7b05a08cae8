import type { Binding } from "../../balancer/attempt.ts";
import { fail, type Scope } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import type { Request } from "../../http/core/request.ts";
import type { Stickiness } from "../../http/core/upstream.ts";
import { Lookup } from "./lookup.ts";

/** `sticky route $variable …`: the backend tells the client its route, in a cookie or URI of its own. */
export function readRoute(at: Directive, scope: Scope): Stickiness {
  const lookup = new Lookup();
  for (const text of at.args.slice(1)) {
    if (!text.startsWith("$")) fail(at, `invalid variable name "${text}"`);
    lookup.add(at, scope, text.slice(1));
  }
  return { begin: (request) => new Route(request, lookup) };
}

/** One request's. */
class Route implements Binding {
  readonly only = false;
  readonly request: Request;
  /** What the request has brought; "" for nothing. */
  readonly id: string;

  constructor(request: Request, lookup: Lookup) {
    this.request = request;
    this.id = lookup.of(request);
  }

  wanted(): string {
    return this.id;
  }

  chosen(): void {}

  header(): void {}

  released(): void {}
}
