import { flag, list } from "../../../config/directives.ts";
import { fail, ownValue, type Scope } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { lowercase } from "../../../wire/latin1.ts";
import { HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { inTypeList, type TypeList, typeList } from "../../conf/type_list.ts";
import { OK } from "../../core/codes.ts";
import { addBodyFilter } from "../../core/filters.ts";
import type { Request } from "../../core/request.ts";
import { clearLastModified, weakEtag } from "../../core/response.ts";
import { type Template, template } from "../../core/script.ts";
import type { HeaderFilter } from "../../core/types.ts";
import { typeAndCharset } from "../../files/content_type.ts";
import { Patterns } from "./patterns.ts";
import { Substitution } from "./substitution.ts";

/** One `sub_filter`. */
interface Pair {
  readonly match: Template;
  readonly value: Template;
}

/** The patterns, and the replacements by the same index. */
interface Search {
  readonly patterns: Patterns;
  readonly values: readonly Template[];
}

interface SubSettings {
  /** Undefined where a pattern has variables. */
  readonly search: Search | undefined;
  readonly pairs: readonly Pair[];
  readonly once: boolean;
  readonly lastModified: boolean;
  readonly types: TypeList;
}

/** nginx's limit. */
const MOST_PAIRS = 255;

const pairs = list<Pair>({
  in: HTTP_LOCATION,
  args: [2, 2],
  syntax: "string replacement",
  doc: "Puts another string in the place of one in a response's body; upper and lower case are the same. Both may have variables. May be repeated: where two strings begin at the same place, the one written first is replaced.",
  item: (at, scope) => readPair(at, scope),
});

function readPair(at: Directive, scope: Scope): Pair {
  const [match, value] = at.args;
  if (match === "") fail(at, "empty search pattern");
  if (ownValue(scope, pairs)?.length === MOST_PAIRS) fail(at, "number of search patterns exceeds 255");
  return { match: template(scope, at, lowercase(match)), value: template(scope, at, value) };
}

/** ngx_http_sub_filter_module. */
export const subFilter = defineModule({
  name: "http_sub_filter",
  configure: "--with-http_sub_module",
  directives: {
    sub_filter: pairs,
    sub_filter_types: typeList({
      in: HTTP_LOCATION,
      doc: "Media types of the responses that `sub_filter` applies to besides text/html; `*` for any.",
      default: ["text/html"],
    }),
    sub_filter_once: flag({
      in: HTTP_LOCATION,
      doc: "Whether each string is replaced only where it is first found.",
      default: true,
    }),
    sub_filter_last_modified: flag({
      in: HTTP_LOCATION,
      doc: "Whether the response keeps Last-Modified and, as a weak one, ETag; else both are removed.",
      default: false,
    }),
  },
  build: (settings): SubSettings => ({
    search: constantSearch(settings.sub_filter),
    pairs: settings.sub_filter,
    once: settings.sub_filter_once,
    lastModified: settings.sub_filter_last_modified,
    types: settings.sub_filter_types,
  }),
  headerFilters: {
    sub(settings): HeaderFilter | undefined {
      if (settings.pairs.length === 0) return undefined;
      return (request) => filterHeader(request, settings);
    },
  },
});

/** Tables of constant patterns, shared by locations that inherit the directives. */
const constantSearches = new WeakMap<readonly Pair[], Search>();

function constantSearch(from: readonly Pair[]): Search | undefined {
  if (from.length === 0) return undefined;
  let search = constantSearches.get(from);
  if (search !== undefined) return search;
  const texts: string[] = [];
  for (const { match } of from) if (match.constant !== undefined) texts.push(match.constant);
  if (texts.length < from.length) return undefined;
  search = { patterns: new Patterns(texts), values: from.map(({ value }) => value) };
  constantSearches.set(from, search);
  return search;
}

/** For patterns with variables: those that are empty for this request are not searched for. */
function searchOf(request: Request, from: readonly Pair[]): Search | undefined {
  const texts: string[] = [];
  const values: Template[] = [];
  for (const { match, value } of from) {
    const text = match.render(request);
    if (text === "") continue;
    texts.push(text);
    values.push(value);
  }
  return texts.length === 0 ? undefined : { patterns: new Patterns(texts), values };
}

function filterHeader(request: Request, settings: SubSettings): number {
  const { response } = request;
  if (response.contentLength === 0 || !inTypeList(settings.types, typeAndCharset(response).type)) return OK;
  const search = settings.search ?? searchOf(request, settings.pairs);
  if (search === undefined) return OK;
  addBodyFilter(request, new Substitution(search.patterns, search.values, settings.once));
  if (request.subrequest !== undefined) return OK;
  response.contentLength = -1;
  if (settings.lastModified) {
    weakEtag(response);
  } else {
    clearLastModified(response);
    response.etag = undefined;
  }
  return OK;
}
