import type { RequestLimits } from "../../../wire/http1/request_fields.ts";
import { RequestHead } from "../../../wire/http1/request_head.ts";
import { newResponse, resetResponse } from "../../core/response.ts";
import type { Response } from "../../core/types.ts";
import type { AddressConfig } from "../types.ts";

/** What a head larger than this has left is not kept with it. */
const LARGE_HEAD = 4096;
/** How many are kept for further requests. */
const MOST_KEPT = 512;

/**
 * What a request is read into and answered from. A connection has one from the first byte of a head until that request was
 * freed. An idle one has none, as in nginx, where it gives its buffers and the request's pool back
 * (ngx_http_set_keepalive_handler).
 */
export class RequestMemory {
  readonly head: RequestHead;
  readonly response: Response = newResponse();

  constructor(limits: RequestLimits) {
    this.head = new RequestHead(limits);
  }
}

/** Those that no connection has, in the first `count` places: `pop` and `push` would allocate memory again and again. */
const kept: (RequestMemory | undefined)[] = [];
let count = 0;

/** For a request that comes in on that address; `limits` are in force until its host is known. */
export function takeRequestMemory(limits: RequestLimits, { limitsOf }: AddressConfig): RequestMemory {
  const memory = (count === 0 ? undefined : kept[--count]) ?? new RequestMemory(limits);
  memory.head.begin(limits, limitsOf);
  return memory;
}

/** Nobody reads the request's fields any more, nor changes its response. */
export function giveRequestMemoryBack(memory: RequestMemory): void {
  if (count === MOST_KEPT) return;
  const { head, response } = memory;
  if (head.length > LARGE_HEAD) head.release();
  else head.clear();
  resetResponse(response);
  kept[count++] = memory;
}
