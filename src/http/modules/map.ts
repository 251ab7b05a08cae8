import { largeBlock, number } from "../../config/directives.ts";
import { refusalsOf } from "../../config/errors.ts";
import { fail, type Scope, valueIn, withoutLines } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { type CompiledRegex, compileRegex, RegexMatchError } from "../../regex/regex.ts";
import { assignCaptures, declareCaptures } from "../../script/captures.ts";
import { evaluate } from "../../script/variables.ts";
import { lowercase } from "../../wire/latin1.ts";
import { defineModule, type HttpBuild, type HttpModule } from "../conf/module.ts";
import {
  addExactKey,
  addWildcardKey,
  findWildcard,
  newWildcardHash,
  type WildcardHash,
} from "../conf/wildcard_hash.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { type Template, template } from "../core/script.ts";

interface MapBlock {
  readonly at: Directive;
  readonly name: string;
  readonly source: Template;
  /** `hostnames`: keys may be wildcards, and the source's trailing dot is dropped. */
  hostnames: boolean;
  /** `volatile`: the value is not cached. */
  volatile: boolean;
  fallback: Template | undefined;
  readonly hash: WildcardHash<Template>;
  readonly regexes: { readonly regex: CompiledRegex; readonly value: Template; readonly line: Directive }[];
}

/** Lines that are read between two looks at the time. */
const LINES = 64;

const mapSpec = largeBlock<readonly MapBlock[]>({
  in: ["http"],
  args: [2, 2],
  syntax: "string $variable { key value; … }",
  doc: "A variable whose value depends on another: keys are strings (case is ignored), `~regex` or `~*regex`, with `hostnames` also wildcards; `default` is the value of all others, `volatile` switches off caching.",
  initial: () => [],
  repeat: true,
  *readSliced(at, scope, previous) {
    const [source, name] = at.args;
    if (!name.startsWith("$")) fail(at, `invalid variable name "${name}"`);
    const block: MapBlock = {
      at: withoutLines(at),
      name: name.slice(1),
      source: template(scope, at, source),
      hostnames: false,
      volatile: false,
      fallback: undefined,
      hash: newWildcardHash(),
      regexes: [],
    };
    const refusals = refusalsOf(scope);
    const values = new Map<string, Template>();
    let lines = 0;
    for (const line of at.block ?? []) {
      if (++lines % LINES === 0) yield;
      refusals.attempt(() => readLine(block, line, scope, values));
    }
    return [...(previous ?? []), block];
  },
});

/** `values`: those without variables, of the lines before; lines of the same value share one. */
function readLine(block: MapBlock, line: Directive, scope: Scope, values: Map<string, Template>): void {
  if (line.args.length === 0 && line.name === "hostnames") {
    block.hostnames = true;
    return;
  }
  if (line.args.length === 0 && line.name === "volatile") {
    block.volatile = true;
    return;
  }
  if (line.args.length !== 1) fail(line, "invalid number of the map parameters");
  const [text] = line.args;
  const value = values.get(text) ?? template(scope, line, text);
  if (value.constant !== undefined) values.set(text, value);
  const { name } = line;
  if (name === "default") {
    if (block.fallback !== undefined) fail(line, "duplicate default map parameter");
    block.fallback = value;
    return;
  }
  if (name.startsWith("~")) {
    const caseless = name.startsWith("~*");
    const regex = compileRegex(name.slice(caseless ? 2 : 1), caseless);
    if ("error" in regex) fail(line, regex.error);
    block.regexes.push({ regex, value, line });
    return;
  }
  const key = name.startsWith("\\") ? name.slice(1) : name;
  const added = block.hostnames
    ? addWildcardKey(block.hash, key, value)
    : addExactKey(block.hash, key, value)
      ? "added"
      : "conflict";
  if (added === "invalid") fail(line, `invalid hostname or wildcard "${key}"`);
  if (added === "conflict") fail(line, `conflicting parameter "${lowercase(key)}"`);
}

function declareMap({ variables }: HttpBuild, block: MapBlock): void {
  const name = block.name.toLowerCase();
  const look = (request: Request) => lookUp(request, block);
  const get = (request: Request) => evaluate(request, name, look, logError);
  variables.declare(block.name, { get, cached: !block.volatile, changeable: true }, block.at);
  for (const { regex, line } of block.regexes) declareCaptures(regex, variables, line);
}

function lookUp(request: Request, block: MapBlock): string {
  const { hash, regexes, fallback } = block;
  let source = block.source.render(request);
  if (block.hostnames && source.endsWith(".")) source = source.slice(0, -1);
  let value = findWildcard(hash, lowercase(source));
  if (value === undefined && source !== "" && regexes.length > 0) value = matching(request, regexes, source);
  value ??= fallback;
  return value === undefined ? "" : (value.constant ?? value.render(request));
}

function matching(request: Request, regexes: MapBlock["regexes"], source: string): Template | undefined {
  const captures: string[] = [];
  for (const { regex, value } of regexes) {
    try {
      if (!regex.exec(source, captures)) continue;
    } catch (error) {
      // A map may be evaluated anywhere, even while logging: after a search that was given up it has the default.
      if (!(error instanceof RegexMatchError)) throw error;
      logError(request, "alert", error.message);
      return undefined;
    }
    assignCaptures(request, regex, captures);
    request.captures = captures;
    return value;
  }
  return undefined;
}

const specs = {
  map: mapSpec,
  map_hash_max_size: number({
    in: ["http"],
    doc: "Accepted for compatibility: the tables of maps grow by themselves.",
    defaultText: "2048",
  }),
  map_hash_bucket_size: number({
    in: ["http"],
    doc: "Accepted for compatibility: the tables of maps grow by themselves.",
    defaultText: "32|64|128",
  }),
};

export const map: HttpModule = defineModule({
  name: "http_map",
  directives: specs,
  setup(http) {
    const refusals = refusalsOf(http.scope);
    for (const block of valueIn(http.scope, mapSpec)) refusals.attempt(() => declareMap(http, block));
  },
});
