import type { UpstreamSettings } from "./settings.ts";

/** The parameters of proxy_next_upstream that stand for a status. */
const BY_STATUS: Readonly<Record<number, string>> = {
  500: "http_500",
  502: "http_502",
  503: "http_503",
  504: "http_504",
  403: "http_403",
  404: "http_404",
  429: "http_429",
};

/** The parameter of proxy_next_upstream that an answer's status stands for, if any. */
export function conditionOf(status: number): string | undefined {
  return BY_STATUS[status];
}

/** The status that the client gets if no other server is tried. */
export function statusOf(condition: string): number {
  if (condition === "timeout") return 504;
  return condition.startsWith("http_") ? Number(condition.slice(5)) : 502;
}

/** Whether the server has failed; with a 403 or 404 it has not (nginx). */
export function isFailure(condition: string): boolean {
  return condition !== "http_403" && condition !== "http_404";
}

/** Whether a request that a server may have begun to process may be sent to another one. */
export function isRepeatable(method: string, { next }: UpstreamSettings): boolean {
  return idempotent(method) || next.has("non_idempotent");
}

/** Idempotent methods may be repeated even if the server has begun to process the request (RFC 9110 section 9.2.2). */
function idempotent(method: string): boolean {
  return method !== "POST" && method !== "LOCK" && method !== "PATCH";
}
