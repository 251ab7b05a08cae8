import { list } from "../../config/directives.ts";
import { type Scope, valueIn } from "../../config/schema.ts";
import type { FieldSet } from "../../wire/http1/field_set.ts";
import { HeaderList } from "../../wire/http1/header_list.ts";
import { CONNECTION_FIELDS } from "../../wire/http1/hop_by_hop.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import type { Request } from "../core/request.ts";
import { type Template, template } from "../core/script.ts";

/** `early_hints` of ngx_http_core_module. */
export const hints = list<readonly Template[]>({
  in: HTTP_LOCATION,
  args: [1, Number.POSITIVE_INFINITY],
  syntax: "string ...",
  doc: "Passes 103 (Early Hints) responses of servers on when a string is neither empty nor 0. Write a variable that says which clients can take them.",
  item: (at, scope) => at.args.map((text) => template(scope, at, text)),
});

/** The conditions in force in a block, for what passes responses on. */
export function earlyHintsIn(scope: Scope): readonly (readonly Template[])[] {
  return valueIn(scope, hints);
}

/** Passes the fields of a 103 response on (RFC 8297) where `early_hints` wants them; those in `hidden` stay behind. */
export function passEarlyHints(
  request: Request,
  fields: HeaderList,
  wanted: readonly Template[],
  hidden: FieldSet,
): void {
  if (request.headerSent || request.version < 1001 || !wanted.some((value) => holds(value.render(request)))) return;
  const passed = new HeaderList();
  for (let i = 0; i < fields.count; i++) {
    if (!hidden.holds(fields, i) && !CONNECTION_FIELDS.holds(fields, i) && !fields.isNamed(i)) passed.copy(fields, i);
  }
  if (passed.count > 0) request.exchange.sendInformational(request, 103, passed);
}

function holds(value: string): boolean {
  return value !== "" && value !== "0";
}
