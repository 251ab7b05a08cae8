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

/** Makes one parameter as the protocol has it. Byte strings. */
export type EncodeParam = (name: string, value: string) => string;

/** A location's parameters, ready for requests. */
export interface ParamsPlan {
  readonly encode: EncodeParam;
  /** In order; adjacent constant ones are encoded and joined. */
  readonly steps: readonly (string | Param)[];
  /** Fields of the client that HTTP_ parameters replace: by their numbers, and the lower-case names of others, `_` for `-`. */
  readonly replacedNumbers: Uint8Array;
  readonly replaced: ReadonlySet<string>;
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

export function paramsPlan(params: readonly Param[], encode: EncodeParam): ParamsPlan {
  const steps: (string | Param)[] = [];
  const replaced = new Set<string>();
  const hasHost = params.some(({ name }) => name.toUpperCase() === HOST.name);
  for (const one of hasHost ? params : [...params, HOST]) {
    const { name, value, ifNotEmpty } = one;
    if (name.length > PREFIX.length && name.startsWith(PREFIX)) {
      replaced.add(name.slice(PREFIX.length).toLowerCase());
      if (value.text === "") continue;
    }
    const { constant } = value;
    if (constant === undefined) {
      steps.push(one);
      continue;
    }
    if (constant === "" && ifNotEmpty) continue;
    const text = encode(name, constant);
    const last = steps.at(-1);
    if (typeof last === "string") steps[steps.length - 1] = last + text;
    else steps.push(text);
  }
  const replacedNumbers = Uint8Array.from({ length: known.FIELD_NUMBERS }, (_, number) =>
    replaced.has(underscored(known.keyOf(number))) ? 1 : 0,
  );
  return { encode, steps, replacedNumbers, replaced };
}

/** Encodes the parameters of a request, those of `…_param` first, then with `withFields` the client's fields. */
export function encodeParams(request: Request, plan: ParamsPlan, withFields: boolean): string {
  const { encode, steps } = plan;
  let encoded = "";
  for (const step of steps) {
    if (typeof step === "string") {
      encoded += step;
      continue;
    }
    const value = step.value.render(request);
    if (value !== "" || !step.ifNotEmpty) encoded += encode(step.name, value);
  }
  return withFields ? encoded + encodeFields(request.headers, plan) : encoded;
}

/** How often each known field is there. */
const seen = new Uint16Array(known.FIELD_NUMBERS);

/** The client's fields as HTTP_… parameters; the values of a repeated field are joined. */
function encodeFields(fields: HeaderList, { encode, replaced, replacedNumbers }: ParamsPlan): string {
  const { count } = fields;
  seen.fill(0);
  for (let at = 0; at < count; at++) seen[fields.number(at)]++;
  let encoded = "";
  for (let at = 0; at < count; at++) {
    const number = fields.number(at);
    if (number === known.UNKNOWN) {
      const key = fields.key(at);
      if (replaced.has(underscored(key)) || fields.indexOf(key) < at) continue;
      encoded += encode(PREFIX + environmentName(fields.name(at)), fields.join(key) ?? "");
      continue;
    }
    if (replacedNumbers[number] !== 0 || seen[number] === 0) continue;
    const value = seen[number] === 1 ? fields.value(at) : (fields.join(known.keyOf(number)) ?? "");
    seen[number] = 0;
    encoded += encode(NAMES[number], value);
  }
  return encoded;
}

/** The parameters' names of known fields by their numbers. */
const NAMES: readonly string[] = Array.from(
  { length: known.FIELD_NUMBERS },
  (_, number) => PREFIX + environmentName(known.keyOf(number)),
);

/** As nginx does: a letter of another alphabet stays as it is. */
function environmentName(name: string): string {
  return underscored(name).replace(/[a-z]/g, (letter) => letter.toUpperCase());
}

function underscored(name: string): string {
  return name.includes("-") ? name.replaceAll("-", "_") : name;
}
