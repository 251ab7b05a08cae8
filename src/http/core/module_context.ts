import type { Request } from "./request.ts";

let slots = 0;

/** What a module keeps for one request (ngx_http_get_module_ctx); an internal redirect drops it. */
export class ModuleContext<C> {
  private readonly slot = slots++;

  get(request: Request): C | undefined {
    // Only `set` of this same object fills the slot.
    return request.contexts?.[this.slot] as C | undefined;
  }

  set(request: Request, context: C): void {
    request.contexts ??= [];
    request.contexts[this.slot] = context;
  }
}

/** What a module keeps for one request as long as that lasts. */
export class LastingContext<C> {
  private readonly slot = slots++;

  get(request: Request): C | undefined {
    // Only `set` of this same object fills the slot.
    return request.lasting?.[this.slot] as C | undefined;
  }

  set(request: Request, context: C): void {
    request.lasting ??= [];
    request.lasting[this.slot] = context;
  }
}
