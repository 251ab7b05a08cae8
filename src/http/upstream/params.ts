import { list } from "../../config/directives.ts";
import { fail } from "../../config/schema.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import * as known from "../../wire/http1/known_fields.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import type { Request } from "../core/request.ts";
import { type Template, template } from "../core/script.ts";
import { ConnectionParams } from "./connection_params.ts";

/** The parameters of a request to an application (RFC 3875 section 4.1), which FastCGI, uwsgi and SCGI encode differently. */

/** A `…_param`. */
export interface Param {
  readonly name: string;
  readonly value: Pick<Template, "text" | "constant" | "ofConnection" | "render">;
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

/** Parameters one after another, encoded: what is the same for all requests, for those of a connection, or for none. */
type Part = string | ConnectionParams | VariableParam;

/** A parameter whose value has variables. */
class VariableParam {
  private readonly name: Name;
  private readonly value: Param["value"];
  private readonly ifNotEmpty: boolean;
  private readonly after: string;

  constructor({ name, value, ifNotEmpty }: Param, coding: ParamCoding) {
    this.name = new Name(name, coding);
    this.value = value;
    this.ifNotEmpty = ifNotEmpty;
    this.after = coding.after;
  }

  encode(request: Request): string {
    const value = this.value.render(request);
    if (value === "" && this.ifNotEmpty) return "";
    return this.name.before(value.length) + value + this.after;
  }
}

const PREFIX = "HTTP_";

/** Where no parameter has this name: not the client's field, which a host in the request line overrides. */
const HOST: Param = {
  name: "HTTP_HOST",
  value: {
    text: "$host$is_request_port$request_port",
    constant: undefined,
    ofConnection: false,
    render({ host, port, server }) {
      const name = host === "" ? server.name : host;
      return port === 0 ? name : name + portText(port);
    },
  },
  ifNotEmpty: true,
};

let lastPort = 0;
let lastText = "";

/** Nearly always the port of the request before. */
function portText(port: number): string {
  if (port !== lastPort) {
    lastPort = port;
    lastText = `:${port}`;
  }
  return lastText;
}

/** A location's parameters, ready for requests. */
export class ParamsPlan {
  private readonly params: readonly Param[];
  private readonly coding: ParamCoding;
  /** In order. Made for the first request, since variables are bound after locations were built. */
  private parts: readonly Part[] | undefined = undefined;
  /** Fields of the client that HTTP_ parameters replace: by their numbers, and the lower-case names of others, `_` for `-`. */
  private readonly replacedNumbers: Uint8Array;
  private readonly replaced: ReadonlySet<string>;
  /** The names of known fields by their numbers. */
  private readonly fieldNames: readonly Name[];

  constructor(set: readonly Param[], coding: ParamCoding) {
    const params = set.some(({ name }) => name.toUpperCase() === HOST.name) ? set : [...set, HOST];
    const ofFields = params.filter(({ name }) => name.length > PREFIX.length && name.startsWith(PREFIX));
    const replaced = new Set(ofFields.map(({ name }) => name.slice(PREFIX.length).toLowerCase()));
    this.params = params.filter((param) => param.value.text !== "" || !ofFields.includes(param));
    this.coding = coding;
    this.replaced = replaced;
    this.replacedNumbers = Uint8Array.from({ length: known.FIELD_NUMBERS }, (_, number) =>
      replaced.has(underscored(known.keyOf(number))) ? 1 : 0,
    );
    this.fieldNames = fieldNames(coding);
  }

  /** Encodes a request's parameters, those of `…_param` first, then with `withFields` the client's fields. */
  encode(request: Request, withFields: boolean): string {
    this.parts ??= this.makeParts();
    let encoded = "";
    for (const part of this.parts) encoded += typeof part === "string" ? part : part.encode(request);
    return withFields ? encoded + this.encodeFields(request.headers) : encoded;
  }

  private makeParts(): Part[] {
    const { params, coding } = this;
    const parts: Part[] = [];
    for (let at = 0; at < params.length; ) {
      const first = at;
      while (at < params.length && params[at].value.ofConnection) at++;
      parts.push(at > first ? this.steady(params.slice(first, at)) : new VariableParam(params[at++], coding));
    }
    return parts;
  }

  /** Parameters of which none has variables of the request. */
  private steady(params: readonly Param[]): string | ConnectionParams {
    const { coding } = this;
    const parts = params.map((param) => {
      const { constant } = param.value;
      if (constant === undefined) return new VariableParam(param, coding);
      return constant === "" && param.ifNotEmpty ? "" : encode(coding, param.name, constant);
    });
    if (parts.every((part) => typeof part === "string")) return parts.join("");
    return new ConnectionParams((request) =>
      parts.map((part) => (typeof part === "string" ? part : part.encode(request))).join(""),
    );
  }

  /** The client's fields as HTTP_… parameters; the values of a repeated field are joined. */
  private encodeFields(fields: HeaderList): string {
    const { coding, replaced, replacedNumbers, fieldNames } = this;
    const { after } = coding;
    const { count } = fields;
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
}

/** How often each known field is there; all 0 between calls. */
const seen = new Uint16Array(known.FIELD_NUMBERS);

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

/** As nginx does: a letter of another alphabet stays as it is. */
function environmentName(name: string): string {
  return underscored(name).replace(/[a-z]/g, (letter) => letter.toUpperCase());
}

function underscored(name: string): string {
  return name.includes("-") ? name.replaceAll("-", "_") : name;
}
