import { directive, flag, list } from "../../../config/directives.ts";
import { fail, type Scope } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { variableValue } from "../../../script/variables.ts";
import { type HeadText, headText } from "../../../wire/head_text.ts";
import { HTTP, HTTP_IF, HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { inTypeList, type TypeList, typeList } from "../../conf/type_list.ts";
import { ERROR, OK } from "../../core/codes.ts";
import { addBodyFilter } from "../../core/filters.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { type Variable, whenVariablesKnown } from "../../core/script.ts";
import type { HeaderFilter } from "../../core/types.ts";
import { typeAndCharset } from "../../files/content_type.ts";
import {
  type Charset,
  type CharsetTable,
  charsetsOf,
  checkMapped,
  findCharset,
  namedCharset,
  readCharsetMap,
} from "./charsets.ts";
import { Recoder } from "./recode.ts";

/** `charset` and `source_charset`: a charset, or the variable that names one. */
type Setting = { readonly charset: Charset } | { variable: Variable | undefined };

interface CharsetSettings {
  /** Undefined: off. */
  readonly charset: Setting | undefined;
  readonly source: Setting | undefined;
  /** Also for responses that have a charset. */
  readonly override: boolean;
  readonly types: TypeList;
  readonly charsets: ReadonlyMap<string, Charset>;
}

function readSetting(at: Directive, scope: Scope): Setting {
  const [name] = at.args;
  if (!name.startsWith("$")) return { charset: namedCharset(scope, at, name) };
  if (name === "$") fail(at, 'invalid variable name "$"');
  const setting: Setting = { variable: undefined };
  whenVariablesKnown(scope, (variables) => {
    setting.variable = variables.use(name.slice(1), at);
  });
  return setting;
}

/** ngx_http_charset_filter_module. */
export const charset = defineModule({
  name: "http_charset_filter",
  directives: {
    charset: directive<Setting | undefined>({
      in: HTTP_IF,
      args: [1, 1],
      syntax: "charset | $variable | off",
      doc: "Names the charset in Content-Type; where `source_charset` is another one, the body is converted.",
      initial: () => undefined,
      defaultText: "off",
      read: (at, scope) => (at.args[0] === "off" ? undefined : readSetting(at, scope)),
    }),
    source_charset: directive<Setting | undefined>({
      in: HTTP_IF,
      args: [1, 1],
      syntax: "charset | $variable",
      doc: "The charset of responses as they are, where they do not name it themselves.",
      initial: () => undefined,
      read: readSetting,
    }),
    override_charset: flag({
      in: HTTP_IF,
      doc: "Whether a response that names its charset is converted too.",
      default: false,
    }),
    charset_types: typeList({
      in: HTTP_LOCATION,
      doc: "Media types that `charset` applies to besides text/html; `*` for any.",
      default: [
        "text/html",
        "text/xml",
        "text/plain",
        "text/vnd.wap.wml",
        "application/javascript",
        "application/rss+xml",
      ],
    }),
    charset_map: list({
      in: HTTP,
      args: [2, 2],
      block: "free",
      syntax: "charset1 charset2 { code1 code2; … }",
      doc: "How bytes of one charset (hexadecimal) become another's, and back; the second may be utf-8, with sequences of bytes.",
      item: readCharsetMap,
    }),
  },
  build(settings, { scope }): CharsetSettings {
    const { charset: target, source_charset: source } = settings;
    if (target !== undefined && source !== undefined && "charset" in target && "charset" in source) {
      checkMapped(source.charset, target.charset);
    }
    return {
      charset: target,
      source,
      override: settings.override_charset,
      types: settings.charset_types,
      charsets: charsetsOf(scope),
    };
  },
  headerFilters: {
    charset(settings): HeaderFilter | undefined {
      // X-Accel-Charset can only name charsets of the configuration.
      if (settings.charset === undefined && settings.charsets.size === 0) return undefined;
      return (request) => filterCharset(request, settings);
    },
  },
});

/** A charset and the name to show; undefined if the configuration does not mention it. */
interface Named {
  readonly name: HeadText;
  readonly charset: Charset | undefined;
}

function filterCharset(request: Request, settings: CharsetSettings): number {
  const { response, main } = request;
  const whole = response.contentType;
  const own = request === main;
  if (own && (whole === undefined || whole === "")) return OK;
  if (own && settings.charset === undefined && response.overrideCharset === undefined) return OK;
  const { type, charset: present } = typeAndCharset(response);

  const target = own ? targetOf(request, settings, type, present) : mainCharset(main, settings);
  if (target === OK || target === ERROR) return target;
  const source =
    present !== "" ? { name: present, charset: findCharset(settings.charsets, present) } : sourceOf(request, settings);
  if (source === ERROR) return ERROR;

  if (source === undefined) {
    show(request, target.name, type === whole);
    return OK;
  }
  const from = source.charset;
  const to = target.charset;
  if (from === undefined || to === undefined) {
    // Two unknown charsets may still be the same one.
    const same = from === to && source.name.toLowerCase().startsWith(target.name.toLowerCase());
    if (same) show(request, target.name, type === whole);
    else logUnmapped(request, source, target);
    return OK;
  }
  let table: CharsetTable | undefined;
  if (from !== to) {
    // A compressed body must not be converted. Unlike nginx this also notices a Content-Encoding set by add_header.
    const encoding = response.headers.get("content-encoding");
    if (encoding !== undefined && encoding !== "") return OK;
    table = from.tables.get(to);
    if (table === undefined) {
      logUnmapped(request, source, target);
      return OK;
    }
  }
  response.contentType = type;
  show(request, target.name, true);
  if (table === undefined) return OK;
  if (table.kind !== "bytes") response.contentLength = -1;
  addBodyFilter(request, new Recoder(table));
  return OK;
}

/** The charset to convert the response to; OK to leave it unchanged. */
function targetOf(
  request: Request,
  { charset: wanted, override, types, charsets }: CharsetSettings,
  type: HeadText,
  present: HeadText,
): Named | typeof OK | typeof ERROR {
  const { overrideCharset } = request.response;
  if (overrideCharset !== undefined && overrideCharset !== "") {
    const known = findCharset(charsets, overrideCharset);
    if (known !== undefined) return { name: overrideCharset, charset: known };
    logError(request, "error", `unknown charset "${overrideCharset}" to override`);
    return OK;
  }
  if (wanted === undefined) return OK;
  if (present !== "" ? !override : !inTypeList(types, type)) return OK;
  return named(request, wanted, charsets);
}

/** A subrequest's output gets the charset of the main response (ngx_http_main_request_charset). */
function mainCharset({ response }: Request, { charsets }: CharsetSettings): Named | typeof OK {
  const { charset: name } = typeAndCharset(response);
  return name === "" ? OK : { name, charset: findCharset(charsets, name) };
}

function sourceOf(request: Request, { source, charsets }: CharsetSettings): Named | undefined | typeof ERROR {
  return source === undefined ? undefined : named(request, source, charsets);
}

/** ERROR if the variable is not found, as in nginx. */
function named(request: Request, setting: Setting, charsets: CharsetSettings["charsets"]): Named | typeof ERROR {
  if ("charset" in setting) return { name: setting.charset.name, charset: setting.charset };
  const name = setting.variable === undefined ? undefined : variableValue(request, setting.variable);
  return name === undefined ? ERROR : { name: headText(name), charset: findCharset(charsets, name) };
}

/** Sets the charset that is appended to the content type, unless that has one itself. */
function show({ response, subrequest }: Request, name: HeadText, apart: boolean): void {
  if (subrequest !== undefined) return;
  // Like nginx: old browsers used a redirect's charset for the next page.
  const redirect = response.status === 301 || response.status === 302;
  response.charset = redirect || !apart || name === "" ? undefined : name;
}

function logUnmapped(request: Request, source: Named, target: Named): void {
  logError(request, "error", `no "charset_map" between the charsets "${source.name}" and "${target.name}"`);
}
