import { fail } from "../config/schema.ts";
import type { Directive } from "../config/types.ts";
import { compileRegex, RegexMatchError } from "../regex/regex.ts";
import type { CheckResponse, Test } from "./response.ts";

/** A `match` block. Without a `status` line any status passes. */
export interface Match {
  readonly status: (code: number) => boolean;
  readonly headers: readonly Test[];
  readonly body: readonly Test[];
  /** For type=tcp: what to send, and what must come. */
  readonly send: string;
  readonly expect: ((received: string) => boolean) | undefined;
  /** The block as text. */
  readonly text: string;
}

/** Reads a `match` block's directives. Throws ConfigError. */
export function readMatch(block: Iterable<Directive>): Match {
  const statuses: ((code: number) => boolean)[] = [];
  const headers: Test[] = [];
  const body: Test[] = [];
  let send = "";
  let expect: Match["expect"];
  for (const at of block) {
    if (at.block !== undefined) fail(at, `unknown directive "${at.name}"`);
    switch (at.name) {
      case "status":
        statuses.push(readStatus(at));
        break;
      case "header":
        headers.push(readHeader(at).test);
        break;
      case "body":
        if (at.args.length !== 2) argumentCount(at);
        body.push(readBodyTest(at, at.args).test);
        break;
      case "require":
        if (at.args.length === 0) argumentCount(at);
        for (const name of at.args) headers.push(readRequire(at, name));
        break;
      case "send":
        if (at.args.length !== 1) argumentCount(at);
        send = bytesOf(at.args[0]);
        break;
      case "expect":
        expect = readExpect(at);
        break;
      default:
        fail(at, `unknown directive "${at.name}"`);
    }
  }
  const text = [...block].map(({ name, args }) => [name, ...args].join(" ")).join("; ");
  return { status: (code) => statuses.every((test) => test(code)), headers, body, send, expect, text };
}

function argumentCount(at: Directive): never {
  return fail(at, `invalid number of arguments in "${at.name}" directive`);
}

/** `200`, `200 204`, `200-399`, each list with `!` before it. */
function readStatus(at: Directive): (code: number) => boolean {
  const negative = at.args[0] === "!";
  const list = negative ? at.args.slice(1) : at.args;
  if (list.length === 0) argumentCount(at);
  const ranges = list.map((word) => {
    const match = /^(\d{3})(?:-(\d{3}))?$/.exec(word);
    const low = Number(match?.[1]);
    const high = Number(match?.[2] ?? match?.[1]);
    if (match === null || low < 100 || high > 599 || low > high) fail(at, `invalid status "${word}"`);
    return [low, high] as const;
  });
  return (code) => ranges.some(([low, high]) => code >= low && code <= high) !== negative;
}

/** `name`, `! name`, `name = value`, `name != value`, `name ~ regex`, `name !~ regex`. */
function readHeader(at: Directive): NamedTest {
  const { args } = at;
  const absent = args[0] === "!";
  const name = (absent ? args[1] : args[0])?.toLowerCase();
  const text = `header ${args.join(" ")}`;
  const reason = `response does not pass "${text}"`;
  if (name === undefined) argumentCount(at);
  if (absent && args.length === 2) return { text, test: ({ headers }) => (headers.has(name) ? reason : "") };
  if (!absent && args.length === 1) return { text, test: ({ headers }) => (headers.has(name) ? "" : reason) };
  if (absent || args.length !== 3) argumentCount(at);
  const passes = textTest(at, args[1], args[2]) ?? fail(at, `invalid parameter "${args[1]}"`);
  const all = args[1].startsWith("!");
  return {
    text,
    test({ headers }) {
      const values = headers.getAll(name);
      const passed = all ? values.every(passes) : values.some(passes);
      return values.length > 0 && passed ? "" : reason;
    },
  };
}

/** `require $variable`: neither empty nor "0". The variables of an answer are those a check has. */
function readRequire(at: Directive, word: string): Test {
  const name = /^\$(\w+)$/.exec(word)?.[1] ?? fail(at, `invalid variable name "${word}"`);
  const value = variable(name) ?? fail(at, `unknown "${name}" variable`);
  const reason = `variable $${name} is empty or "0"`;
  return (response) => {
    const text = value(response);
    return text === "" || text === "0" ? reason : "";
  };
}

function variable(name: string): ((response: CheckResponse) => string) | undefined {
  if (name === "status" || name === "upstream_status") return ({ status }) => String(status);
  const header = /^(?:upstream|sent)_http_(\w+)$/.exec(name)?.[1]?.replaceAll("_", "-");
  return header === undefined ? undefined : ({ headers }) => headers.join(header, ", ") ?? "";
}

function readExpect(at: Directive): (received: string) => boolean {
  const { args } = at;
  if (args.length === 1) {
    const text = bytesOf(args[0]);
    return (received) => received.includes(text);
  }
  if (args.length !== 2 || (args[0] !== "~" && args[0] !== "~*")) argumentCount(at);
  return compile(at, args[1], args[0] === "~*");
}

/** `\xHH`: a byte. */
function bytesOf(text: string): string {
  return text.replace(/\\x([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** A test with its text, which identifies the check across reloads. */
export interface NamedTest {
  readonly text: string;
  readonly test: Test;
}

/** Compiles a test pattern of bytes: `caseless` for `~*`. Throws ConfigError at the directive. */
function compile(at: Directive, pattern: string, caseless: boolean): (text: string) => boolean {
  const regex = compileRegex(pattern, caseless);
  if ("error" in regex) fail(at, regex.error);
  return (text) => {
    try {
      return regex.test(text);
    } catch (error) {
      // The search exceeded its limits: counts as no match.
      if (error instanceof RegexMatchError) return false;
      throw error;
    }
  };
}

const OPERATORS = new Set(["~", "~*", "!~", "!~*"]);

/** The test of a text by an operator and what it compares with; undefined for an unknown operator. */
function textTest(at: Directive, operator: string, value: string): ((text: string) => boolean) | undefined {
  if (operator === "=") return (text) => text === value;
  if (operator === "!=") return (text) => text !== value;
  if (!OPERATORS.has(operator)) return undefined;
  const matches = compile(at, value, operator.endsWith("*"));
  return operator.startsWith("!") ? (text) => !matches(text) : matches;
}

/** `~ regex` (and `~*`, `!~`, `!~*`), or one text the body contains. */
export function readBodyTest(at: Directive, args: readonly string[]): NamedTest {
  const text = `body ${args.join(" ")}`;
  if (args.length === 1) return named(text, (body) => body.includes(args[0]));
  const matches = OPERATORS.has(args[0]) ? textTest(at, args[0], args[1]) : undefined;
  return matches === undefined ? fail(at, `invalid parameter "${args[0]}"`) : named(text, matches);
}

function named(text: string, matches: (body: string) => boolean): NamedTest {
  const reason = `response body does not pass "${text}"`;
  return { text, test: ({ body }: CheckResponse) => (matches(body) ? "" : reason) };
}
