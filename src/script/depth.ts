import { logError } from "../http/core/log_context.ts";
import type { Request } from "../http/core/request.ts";

/** How deep variables that are made of other variables may go: nginx's bound. */
let left = 100;

/** Evaluates a variable that is made of others (map, split_clients); one that leads back to itself is not found. */
export function evaluate(
  request: Request,
  name: string,
  get: (request: Request) => string | undefined,
): string | undefined {
  if (left === 0) {
    logError(request, "error", `cycle while evaluating variable "${name}"`);
    return undefined;
  }
  left--;
  try {
    return get(request);
  } finally {
    left++;
  }
}
