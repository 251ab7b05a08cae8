import { H2RequestHead } from "../../../wire/h2/request_head.ts";
import type { RequestLimits } from "../../../wire/http1/request_fields.ts";
import { newResponse, resetResponse } from "../../core/response.ts";
import type { Response } from "../../core/types.ts";
import type { AddressConfig } from "../types.ts";

/** What a head larger than this has left is not kept with it. */
const LARGE_HEAD = 4096;
const MOST_KEPT = 512;

/** What a request is read into and answered from, until it was freed. */
export class RequestMemory {
  readonly head: H2RequestHead;
  readonly response: Response = newResponse();

  constructor(limits: RequestLimits) {
    this.head = new H2RequestHead(limits);
  }
}

const kept: RequestMemory[] = [];

export function takeRequestMemory({ defaultServer: { limits }, limitsOf }: AddressConfig): RequestMemory {
  const memory = kept.pop() ?? new RequestMemory(limits);
  memory.head.begin(limits, limitsOf);
  return memory;
}

/** Nobody reads the request's fields any more, nor changes its response. */
export function giveRequestMemoryBack(memory: RequestMemory): void {
  if (kept.length === MOST_KEPT) return;
  const { head, response } = memory;
  if (head.length > LARGE_HEAD) head.release();
  else head.clear();
  resetResponse(response);
  kept.push(memory);
}
