import { list } from "../../config/directives.ts";
import { fail } from "../../config/schema.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import * as known from "../../wire/http1/known_fields.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import type { Request } from "../core/request.ts";
import { type Template, template } from "../core/script.ts";

/** The parameters of a request to an application (RFC 3875 section 4.1), which FastCGI, uwsgi and SCGI encode differently. */

/** A `…_param`. */
export interface Param {
  readonly name: string;
  readonly value: Pick<Template, "text" | "constant" | "render">;
  /** Not sent if its value is empty. */
  readonly ifNotEmpty: boolean;
}

/** `…_param`, without the prefix. */
export const param = list<Param>({
  in: HTTP_LOCATION,
  args: [2, 3],
  syntax: "parameter value [if_not_empty]",
  doc: "A parameter of the request to the application. Inherited where a block sets none.",
  item(at, scope) {
    const [name, value, word] = at.args;
    if (word !== undefined && word !== "if_not_empty") fail(at, `invalid parameter "${word}"`);
    return { name, value: template(scope, at, value), ifNotEmpty: word !== undefined };
  },
});

/** How a protocol writes a parameter. Byte strings. */
export interface ParamCoding {
  /** What precedes a value of that length: the name, and the lengths. */
  before(name: string, length: number): string;
  /** What follows the value. */
  readonly after: string;
}

/** The lengths of values for which what precedes them is kept. */
const KEPT = 128;

/** A parameter's name. What precedes a value is made once for each length, so that a parameter costs two concatenations. */
class Name {
  private readonly text: string;
  private readonly coding: ParamCoding;
  private readonly kept: string[] = [];

  constructor(text: string, coding: ParamCoding) {
    this.text = text;
    this.coding = coding;
  }

  before(length: number): string {
    if (length >= KEPT) return this.coding.before(this.text, length);
    while (this.kept.length <= length) this.kept.push(this.coding.before(this.text, this.kept.length));
    return this.kept[length];
  }
}

/** A parameter whose value is another for each request. */
interface Step {
  readonly name: Name;
  readonly value: Param["value"];
  readonly ifNotEmpty: boolean;
}

/** A location's parameters, ready for requests. */
export interface ParamsPlan {
  readonly coding: ParamCoding;
  /** In order; adjacent constant ones are encoded and joined. */
  readonly steps: readonly (string | Step)[];
  /** Fields of the client that HTTP_ parameters replace: by their numbers, and the lower-case names of others, `_` for `-`. */
  readonly replacedNumbers: Uint8Array;
  readonly replaced: ReadonlySet<string>;
  /** The names of known fields by their numbers. */
  readonly fieldNames: readonly Name[];
}

const PREFIX = "HTTP_";

/** Where no parameter has this name: not the client's field, which a host in the request line overrides. */
const HOST: Param = {
  name: "HTTP_HOST",
  value: {
    text: "$host$is_request_port$request_port",
    constant: undefined,
    render({ host, port, server }) {
      const name = host === "" ? server.name : host;
      return port === 0 ? name : `${name}:${port}`;
    },
  },
  ifNotEmpty: true,
};

export function paramsPlan(params: readonly Param[], coding: ParamCoding): ParamsPlan {
  const steps: (string | Step)[] = [];
  const replaced = new Set<string>();
  const hasHost = params.some(({ name }) => name.toUpperCase() === HOST.name);
  for (const { name, value, ifNotEmpty } of hasHost ? params : [...params, HOST]) {
    if (name.length > PREFIX.length && name.startsWith(PREFIX)) {
      replaced.add(name.slice(PREFIX.length).toLowerCase());
      if (value.text === "") continue;
    }
    const { constant } = value;
    if (constant === undefined) {
      steps.push({ name: new Name(name, coding), value, ifNotEmpty });
      continue;
    }
    if (constant === "" && ifNotEmpty) continue;
    const text = encode(coding, name, constant);
    const last = steps.at(-1);
    if (typeof last === "string") steps[steps.length - 1] = last + text;
    else steps.push(text);
  }
  const replacedNumbers = Uint8Array.from({ length: known.FIELD_NUMBERS }, (_, number) =>
    replaced.has(underscored(known.keyOf(number))) ? 1 : 0,
  );
  return { coding, steps, replacedNumbers, replaced, fieldNames: fieldNames(coding) };
}

function encode(coding: ParamCoding, name: string, value: string): string {
  return coding.before(name, value.length) + value + coding.after;
}

/** One table for each protocol. */
const namesOf = new WeakMap<ParamCoding, readonly Name[]>();

function fieldNames(coding: ParamCoding): readonly Name[] {
  const made = namesOf.get(coding);
  if (made !== undefined) return made;
  const name = (_: unknown, number: number) => new Name(PREFIX + environmentName(known.keyOf(number)), coding);
  const names = Array.from({ length: known.FIELD_NUMBERS }, name);
  namesOf.set(coding, names);
  return names;
}

/** Encodes the parameters of a request, those of `…_param` first, then with `withFields` the client's fields. */
export function encodeParams(request: Request, plan: ParamsPlan, withFields: boolean): string {
  const { steps } = plan;
  const { after } = plan.coding;
  let encoded = "";
  for (const step of steps) {
    if (typeof step === "string") {
      encoded += step;
      continue;
    }
    const value = step.value.render(request);
    if (value !== "" || !step.ifNotEmpty) encoded += step.name.before(value.length) + value + after;
  }
  return withFields ? encoded + encodeFields(request.headers, plan) : encoded;
}

/** How often each known field is there; all 0 between calls. */
const seen = new Uint16Array(known.FIELD_NUMBERS);

/** The client's fields as HTTP_… parameters; the values of a repeated field are joined. */
function encodeFields(fields: HeaderList, { coding, replaced, replacedNumbers, fieldNames }: ParamsPlan): string {
  const { count } = fields;
  const { after } = coding;
  for (let at = 0; at < count; at++) seen[fields.number(at)]++;
  let encoded = "";
  for (let at = 0; at < count; at++) {
    const number = fields.number(at);
    if (number === known.UNKNOWN) {
      const key = fields.key(at);
      if (replaced.has(underscored(key)) || fields.indexOf(key) < at) continue;
      encoded += encode(coding, PREFIX + environmentName(fields.name(at)), fields.join(key) ?? "");
      continue;
    }
    const times = seen[number];
    seen[number] = 0;
    if (times === 0 || replacedNumbers[number] !== 0) continue;
    const value = times === 1 ? fields.value(at) : (fields.join(known.keyOf(number)) ?? "");
    encoded += fieldNames[number].before(value.length) + value + after;
  }
  seen[known.UNKNOWN] = 0;
  return encoded;
}

/** As nginx does: a letter of another alphabet stays as it is. */
function environmentName(name: string): string {
  return underscored(name).replace(/[a-z]/g, (letter) => letter.toUpperCase());
}

function underscored(name: string): string {
  return name.includes("-") ? name.replaceAll("-", "_") : name;
}
