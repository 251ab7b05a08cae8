import type { Request } from "./request.ts";
import { lowercase } from "./wildcard_hash.ts";

/** Sets the response's type by the URI's extension, else `default_type` (ngx_http_set_content_type). Keeps one that is set. */
export function setContentType(request: Request): void {
  const { response, exten } = request;
  if (response.contentType !== undefined) return;
  const { core } = request.location;
  response.contentType =
    (exten === "" ? undefined : (core.types.get(exten) ?? core.types.get(lowercase(exten)))) ?? core.defaultType;
}
