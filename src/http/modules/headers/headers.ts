import { directive, enumeration, list, refuse } from "../../../config/directives.ts";
import { warn } from "../../../config/errors.ts";
import { fail, type Scope, valueIn } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { httpDate, httpDateOf } from "../../../sys/clock.ts";
import { type HeadText, headText } from "../../../wire/head_text.ts";
import { parseHttpTime } from "../../../wire/http_time.ts";
import { HeaderList } from "../../../wire/http1/header_list.ts";
import { namesFraming } from "../../../wire/http1/hop_by_hop.ts";
import { fieldKey } from "../../../wire/http1/known_fields.ts";
import { HTTP_IF } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { OK } from "../../core/codes.ts";
import { addBodyFilter, BODY_FILTER, LAST, passBody } from "../../core/filters.ts";
import type { Request } from "../../core/request.ts";
import { headTemplate, type Template, template } from "../../core/script.ts";
import type { BodyFilter, HeaderFilter } from "../../core/types.ts";
import { type Expires, nextTimeOfDay, parseExpires } from "./expires.ts";

/** One `add_header` or `add_trailer`. */
interface Field {
  readonly name: HeadText;
  readonly key: string;
  readonly value: Template<HeadText>;
  /** Added whatever the status. */
  readonly always: boolean;
}

interface ExpiresSetting {
  readonly modified: boolean;
  /** Parsed if the value has no variables. */
  readonly fixed: Expires | undefined;
  readonly value: Template;
}

interface HeadersSettings {
  readonly expires: ExpiresSetting | undefined;
  readonly headers: readonly Field[];
  readonly trailers: readonly Field[];
}

const INHERIT = ["off", "on", "merge"] as const;

const specs = {
  expires: directive<ExpiresSetting | undefined>({
    in: HTTP_IF,
    args: [1, 2],
    syntax: "[modified] time | epoch | max | off",
    doc: "Sets Expires and Cache-Control: so long after now, after the file's modification, or at a time of day (`@`).",
    initial: () => undefined,
    defaultText: "off",
    read(at, scope) {
      const modified = at.args.length === 2;
      if (modified && at.args[0] !== "modified") refuse(at, "invalid value");
      const text = at.args[at.args.length - 1];
      const value = template(scope, at, text);
      if (value.constant === undefined) return { modified, fixed: undefined, value };
      const fixed = parseExpires(value.constant, modified);
      if (typeof fixed === "string") return refuse(at, fixed);
      return { modified, fixed, value };
    },
  }),
  add_header: list<Field>({
    in: HTTP_IF,
    args: [2, 3],
    syntax: "name value [always]",
    doc: "Adds a field to responses of the usual good statuses and redirects; with `always`, to all. Content-Length and Transfer-Encoding are not added: they are always those of the body.",
    item: readField,
  }),
  add_trailer: list<Field>({
    in: HTTP_IF,
    args: [2, 3],
    syntax: "name value [always]",
    doc: "Adds a field behind a response's chunked body.",
    item: readField,
  }),
  add_header_inherit: enumeration({
    in: HTTP_IF,
    values: INHERIT,
    default: "on",
    doc: "Whether the level above's add_header holds too: only where there is none here (`on`), never, or as well (`merge`).",
  }),
  add_trailer_inherit: enumeration({
    in: HTTP_IF,
    values: INHERIT,
    default: "on",
    doc: "The same for add_trailer.",
  }),
};

function readField(at: Directive, scope: Scope): Field {
  const [name, text, last] = at.args;
  if (last !== undefined && last !== "always") fail(at, `invalid parameter "${last}"`);
  if (namesFraming(name)) warn(at, scope, `"${at.name} ${name}" is ignored, the framing of a body is always its own`);
  return {
    name: headText(name),
    key: fieldKey(name),
    value: headTemplate(scope, at, text),
    always: last !== undefined,
  };
}

/** ngx_http_headers_filter_module. */
export const headers = defineModule({
  name: "http_headers_filter",
  directives: specs,
  build: (settings, { scope }): HeadersSettings => ({
    expires: settings.expires?.fixed?.kind === "off" ? undefined : settings.expires,
    headers: fieldsOf(scope, "add_header", "add_header_inherit").filter(({ name }) => !namesFraming(name)),
    trailers: fieldsOf(scope, "add_trailer", "add_trailer_inherit").filter(({ name }) => !namesFraming(name)),
  }),
  headerFilters: {
    headers(settings): HeaderFilter | undefined {
      if (settings.expires === undefined && settings.headers.length === 0 && settings.trailers.length === 0) {
        return undefined;
      }
      return (request) => addFields(request, settings);
    },
  },
});

/** The fields in force: the level's own, with those of outer levels as `*_inherit` says. */
function fieldsOf(
  scope: Scope,
  name: "add_header" | "add_trailer",
  inherit: "add_header_inherit" | "add_trailer_inherit",
): readonly Field[] {
  const own = scope.values.has(specs[name]) ? valueIn(scope, specs[name]) : [];
  const mode = valueIn(scope, specs[inherit]);
  if (mode === "off" || (mode === "on" && own.length > 0) || scope.parent === undefined) return own;
  return [...own, ...fieldsOf(scope.parent, name, inherit)];
}

const SAFE: ReadonlySet<number> = new Set([200, 201, 204, 206, 301, 302, 303, 304, 307, 308]);

function addFields(request: Request, { expires, headers: fields, trailers }: HeadersSettings): number {
  if (request !== request.main) return OK;
  const safe = SAFE.has(request.response.status);
  if (expires !== undefined && safe) setExpires(request, expires);
  for (const field of fields) {
    if (safe || field.always) addField(request, field);
  }
  for (const field of trailers) {
    if (!safe && !field.always) continue;
    request.response.trailers = new HeaderList();
    addBodyFilter(request, new Trailers(trailers, safe));
    break;
  }
  return OK;
}

function addField(request: Request, { name, key, value }: Field): void {
  const { response } = request;
  const text = value.constant ?? value.render(request);
  switch (key) {
    case "last-modified":
      response.lastModifiedText = text === "" ? undefined : text;
      response.lastModified = text === "" ? -1 : parseHttpTime(text);
      return;
    case "etag":
      response.etag = text === "" ? undefined : text;
      return;
    default:
      if (text !== "") response.headers.add(name, key, text);
  }
}

/** Evaluates the trailers when the body's last bytes pass. */
class Trailers implements BodyFilter {
  readonly place = BODY_FILTER.headers;
  private readonly fields: readonly Field[];
  private readonly safe: boolean;

  constructor(fields: readonly Field[], safe: boolean) {
    this.fields = fields;
    this.safe = safe;
  }

  push(request: Request, bytes: Uint8Array | string, flags: number, next: number): boolean {
    const { trailers } = request.response;
    if ((flags & LAST) !== 0 && trailers !== undefined) {
      for (const { name, key, value, always } of this.fields) {
        if (!this.safe && !always) continue;
        const text = value.render(request);
        if (text !== "") trailers.add(name, key, text);
      }
    }
    return passBody(request, next, bytes, flags);
  }
}

function setExpires(request: Request, setting: ExpiresSetting): void {
  const expires = setting.fixed ?? parseExpires(setting.value.render(request), setting.modified);
  if (typeof expires === "string" || expires.kind === "off") return;
  const { headers: fields, lastModified } = request.response;
  if (expires.kind === "epoch") {
    fields.set("Expires", "Thu, 01 Jan 1970 00:00:01 GMT");
    fields.set("Cache-Control", "no-cache");
    return;
  }
  if (!("seconds" in expires)) {
    fields.set("Expires", "Thu, 31 Dec 2037 23:55:55 GMT");
    fields.set("Cache-Control", "max-age=315360000");
    return;
  }
  const { kind, seconds } = expires;
  if (seconds === 0 && kind !== "daily") {
    fields.set("Expires", httpDate());
    fields.set("Cache-Control", "max-age=0");
    return;
  }
  const now = Math.floor(Date.now() / 1000);
  const time =
    kind === "daily"
      ? nextTimeOfDay(seconds, now)
      : kind === "access" || lastModified === -1
        ? now + seconds
        : lastModified + seconds;
  fields.set("Expires", httpDateOf(time * 1000));
  const age = time - now;
  fields.set("Cache-Control", age < 0 || seconds < 0 ? "no-cache" : `max-age=${age}`);
}
