import { fail } from "../config/schema.ts";
import type { Directive } from "../config/types.ts";
import { compileRegex, RegexMatchError } from "../regex/regex.ts";
import type { CheckResponse, Test } from "./response.ts";

/** A test with its text, by which a check is recognised after a reload. */
export interface NamedTest {
  readonly text: string;
  readonly test: Test;
}
export type BodyTest = NamedTest;

/** Compiles a test pattern of bytes: `caseless` for `~*`. Throws ConfigError at the directive. */
export function compile(at: Directive, pattern: string, caseless: boolean): (text: string) => boolean {
  const regex = compileRegex(pattern, caseless);
  if ("error" in regex) fail(at, regex.error);
  return (text) => {
    try {
      return regex.test(text);
    } catch (error) {
      // The search was given up: nobody can say that the answer matches.
      if (error instanceof RegexMatchError) return false;
      throw error;
    }
  };
}

const OPERATORS = new Set(["~", "~*", "!~", "!~*"]);

/** The test of a text by an operator and what it compares with; undefined for an operator there is none of. */
export function textTest(at: Directive, operator: string, value: string): ((text: string) => boolean) | undefined {
  if (operator === "=") return (text) => text === value;
  if (operator === "!=") return (text) => text !== value;
  if (!OPERATORS.has(operator)) return undefined;
  const matches = compile(at, value, operator.endsWith("*"));
  return operator.startsWith("!") ? (text) => !matches(text) : matches;
}

/** `~ regex` (and `~*`, `!~`, `!~*`), or one text the body contains. */
export function readBodyTest(at: Directive, args: readonly string[]): BodyTest {
  const text = `body ${args.join(" ")}`;
  if (args.length === 1) return named(text, (body) => body.includes(args[0]));
  const matches = OPERATORS.has(args[0]) ? textTest(at, args[0], args[1]) : undefined;
  return matches === undefined ? fail(at, `invalid parameter "${args[0]}"`) : named(text, matches);
}

function named(text: string, matches: (body: string) => boolean): BodyTest {
  const reason = `response body does not pass "${text}"`;
  return { text, test: ({ body }: CheckResponse) => (matches(body) ? "" : reason) };
}
