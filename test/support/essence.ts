import type { RawResponse } from "./tcp.ts";

/**
 * What of an answer must be the same whoever gives it: of an error or redirect, whose page names the server, the status
 * alone.
 */
export function essenceOf({ status, headers, body }: RawResponse): unknown {
  if (status >= 300) return { status };
  const known = headers.filter(([name]) => !["server", "date", "connection"].includes(name));
  const lines = known.map(([name, value]) => `${name}: ${value}`.replace(/boundary=\d{20}/, "boundary=BOUNDARY"));
  return { status, headers: lines.sort(), body: body.replace(/--\d{20}/g, "--BOUNDARY") };
}
