import { text } from "../../config/directives.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { defineModule } from "../conf/module.ts";
import { inTypeList, type TypeList, typeList } from "../conf/type_list.ts";
import { ERROR, OK } from "../core/codes.ts";
import { finalizeRequest } from "../core/engine.ts";
import { addBodyFilter, BODY_FILTER, LAST, PART_END, passBody } from "../core/filters.ts";
import type { Request } from "../core/request.ts";
import { bodyChanges } from "../core/response.ts";
import { subrequest } from "../core/subrequest.ts";
import type { BodyFilter } from "../core/types.ts";
import { typeAndCharset } from "../files/content_type.ts";

/** ngx_http_addition_filter_module: puts the answers of subrequests before and after a response. */
export const addition = defineModule({
  name: "http_addition_filter",
  configure: "--with-http_addition_module",
  directives: {
    add_before_body: text({
      in: HTTP_LOCATION,
      default: "",
      defaultText: "—",
      doc: "Puts what a subrequest for this URI answers before the response; an empty string for nothing.",
    }),
    add_after_body: text({
      in: HTTP_LOCATION,
      default: "",
      defaultText: "—",
      doc: "Puts what a subrequest for this URI answers after the response; an empty string for nothing.",
    }),
    addition_types: typeList({
      in: HTTP_LOCATION,
      doc: "Media types of responses that `add_before_body` and `add_after_body` apply to besides text/html; `*` for any.",
      default: ["text/html"],
    }),
  },
  headerFilters: {
    addition({ add_before_body: before, add_after_body: after, addition_types: types }) {
      if (before === "" && after === "") return undefined;
      return (request) => add(request, before, after, types);
    },
  },
});

function add(request: Request, before: string, after: string, types: TypeList): number {
  const { response } = request;
  if (response.status !== 200 || request !== request.main || response.contentType === undefined) return OK;
  if (!inTypeList(types, typeAndCharset(response).type)) return OK;
  bodyChanges(response);
  addBodyFilter(request, new Addition(before, after));
  return OK;
}

/** In `Request.buffered`: this filter's bit, and those of the filters between it and the one that orders the output. */
const BIT = 1 << BODY_FILTER.addition;
const BEHIND = (1 << BODY_FILTER.postpone) - 2 * BIT;

class Addition implements BodyFilter {
  readonly place = BODY_FILTER.addition;
  private before: string;
  private after: string;
  private ended = false;

  constructor(before: string, after: string) {
    this.before = before;
    this.after = after;
  }

  push(request: Request, bytes: Uint8Array | string, flags: number, next: number): boolean {
    const { before } = this;
    if (before !== "") {
      this.before = "";
      if (!ask(request, before)) return true;
    }
    if (this.after === "" || (flags & LAST) === 0) return passBody(request, next, bytes, flags);
    this.ended = true;
    passBody(request, next, bytes, (flags & ~LAST) | PART_END);
    return this.drain(request, next);
  }

  /** Once the filters behind keep nothing of the response any more, what stands after it follows. */
  drain(request: Request, next: number): boolean {
    const { after } = this;
    if (!this.ended || after === "") return true;
    if ((request.buffered & BEHIND) !== 0) {
      request.buffered |= BIT;
      return false;
    }
    this.after = "";
    request.buffered &= ~BIT;
    return ask(request, after) && passBody(request, next, "", LAST);
  }
}

/** False if the request was ended because of too many subrequests. */
function ask(request: Request, uri: string): boolean {
  if (subrequest(request, uri, "", {}) !== undefined) return true;
  finalizeRequest(request, ERROR);
  return false;
}
