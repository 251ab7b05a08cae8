import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { compileProgram } from "../../src/regex/compile.ts";
import { search } from "../../src/regex/match.ts";
import { parseRegex } from "../../src/regex/parse.ts";
import { type CompiledRegex, compileRegex, RegexMatchError } from "../../src/regex/regex.ts";
import { checkConfig, generator, NGINX, quoted, startNginx } from "../support/reference_nginx.ts";

function compiled(pattern: string, caseless = false): CompiledRegex {
  const regex = compileRegex(pattern, caseless);
  assert.ok(!("error" in regex), "error" in regex ? regex.error : "");
  return regex;
}

function run(pattern: string, subject: string, caseless = false): readonly string[] | undefined {
  const captures = ["left", "over", "from", "before"];
  return compiled(pattern, caseless).exec(subject, captures) ? captures : undefined;
}

const utf8 = (text: string): string => Buffer.from(text, "utf8").toString("latin1");

/** Pattern, subject, and what the captures are afterwards; undefined: no match; []: a match without groups. */
const MATCHES: readonly (readonly [pattern: string, subject: string, captures: readonly string[] | undefined])[] = [
  ["^/a", "/abc", []],
  ["^/a", "x/abc", undefined],
  ["\\.php$", "/x.php", []],
  ["\\.php$", "/x.php\n", []],
  ["\\.php$", "/x.php\n\n", undefined],
  ["\\.php\\z", "/x.php\n", undefined],
  ["\\.php\\Z", "/x.php\n", []],
  ["(?m)^b$", "a\nb\nc", []],
  ["(?m)^$", "a\n", undefined],
  ["a.b", "a\nb", undefined],
  ["a.b", "a\rb", []],
  ["(?s)a.b", "a\nb", []],
  ["^/(\\w+)/(.*)$", "/one/two/three", ["/one/two/three", "one", "two/three"]],
  ["(a)|(b)", "b", ["b", "", "b"]],
  ["(a)|(b)", "a", ["a", "a"]],
  ["(?<year>\\d{4})-(?P<month>\\d\\d)-(?'day'\\d\\d)", "2026-01-31", ["2026-01-31", "2026", "01", "31"]],
  ["[[:alpha:]_]+[^[:space:]]", "ab_1", []],
  ["[]a]+$", "]a]", []],
  ["[^]a]", "]a", undefined],
  ["\\h+\\H", "\t\xa0x", []],
  ["a\\Rb", "a\r\nb", []],
  ["\\x41\\x{42}\\103\\o{104}", "ABCD", []],
  ["\\Qa.b\\E+", "a.bbb", []],
  ["\\Qa.b", "axb", undefined],
  ["(?i)stra(?-i)SSE", "STRASSE", []],
  ["(?i:a)b", "Ab", []],
  ["(?i:a)b", "AB", undefined],
  ["((?i)a)b", "Ab", ["Ab", "A"]],
  ["((?i)a)b", "AB", undefined],
  ["(?x) a b # the end\n c", "abc", []],
  ["a++b", "aab", []],
  ["a++ab", "aaab", undefined],
  ["(?>a|ab)c(d)", "abcd", undefined],
  ["(?>ab|a)c(d)", "abcd", ["abcd", "d"]],
  ["(?>(a+))b(c)", "aabc", ["aabc", "aa", "c"]],
  ["(?<=/)(\\w+)(?=\\.)", "/file.txt", ["file", "file"]],
  ["(?<!a|bc)d", "bcd", undefined],
  ["(a*)*", "aa", ["aa", ""]],
  ["^(?:(a)|b)*$", "ab", ["ab", "a"]],
  ["(\\w)\\1", "hello", ["ll", "l"]],
  ["(?i)(\\w)\\1", "heLlo", ["Ll", "L"]],
  ["^(?:(a)|b)\\1$", "b", undefined],
  ["(?<q>['\"]).*\\k<q>", "x'y'", ["'y'", "'"]],
  ["^(\\((?:[^()]|(?1))*\\))$", "(a(b)c)", ["(a(b)c)", "(a(b)c)"]],
  ["^(<)?a(?(1)>|!)$", "<a>", ["<a>", "<"]],
  ["^(<)?a(?(1)>|!)$", "a!", ["a!"]],
  ["^(<)?a(?(1)>|!)$", "<a!", undefined],
  ["(?|(a)|(b))(c)", "bc", ["bc", "b", "c"]],
  ["(?n)(a)(?<x>b)", "ab", ["ab", "b"]],
  ["(?U)(a+)", "aaa", ["a", "a"]],
  ["(?#a comment)a(?!)|b", "ab", []],
  ["a{,2}", "a{,2}", []],
  ["a{2}$", "aaa", []],
  ["x\\Ky", "xy", []],
  ["\\d", "\xb2", undefined],
  ["[^a]", "\xff", []],
  [utf8("(*UTF8)^/(при.)ет$"), utf8("/привет"), [utf8("/привет"), utf8("прив")]],
  [utf8("(*UTF8)(?i)^/ПРИВЕТ$"), utf8("/привет"), []],
];

describe("regular expressions", () => {
  for (const [pattern, subject, captures] of MATCHES) {
    test(`${JSON.stringify(pattern)} on ${JSON.stringify(subject)}`, () => {
      const expected = captures === undefined ? undefined : [...captures];
      assert.deepEqual(run(pattern, subject), expected);
      assert.equal(compiled(pattern, false).test(subject), captures !== undefined);
    });
  }

  test("without regard to case, letters only of ASCII", () => {
    assert.deepEqual(run("^/(A-[x-z]+)", "/a-XyZ", true), ["/a-XyZ", "a-XyZ"]);
    assert.equal(run("\xe9", "\xc9", true), undefined);
    assert.equal(run("[^a]", "A", true), undefined);
  });

  test("names come sorted, with their numbers", () => {
    const { names, captures } = compiled("(?<b>x)(y)(?<a>z)");
    assert.deepEqual(names, [
      { name: "a", index: 3 },
      { name: "b", index: 1 },
    ]);
    assert.equal(captures, 3);
    assert.deepEqual(compiled("(?J)(?<n>a)|(?<n>b)").names, [
      { name: "n", index: 1 },
      { name: "n", index: 2 },
    ]);
  });

  test("captures stay when nothing matches", () => {
    const captures = ["kept"];
    assert.equal(compiled("a").exec("b", captures), false);
    assert.deepEqual(captures, ["kept"]);
  });

  test("a careless pattern does not hold the worker", () => {
    // 2^60 ways to split the subject.
    assert.equal(compiled("^(a+)+$").exec(`${"a".repeat(60)}c`, []), false);
    assert.equal(compiled("^/(a|b|ab)*x$").test(`/${"ab".repeat(60)}`), false);
  });
});

/** Pattern, and PCRE2's sentence. */
const ERRORS: readonly (readonly [pattern: string, message: string])[] = [
  ["*abc", 'quantifier does not follow a repeatable item in "*abc" at "*abc"'],
  ["a**", 'quantifier does not follow a repeatable item in "a**" at "*"'],
  ["ab(", 'missing closing parenthesis in "ab("'],
  ["(?i", 'missing closing parenthesis in "(?i"'],
  ["ab)c", 'unmatched closing parenthesis in "ab)c" at ")c"'],
  ["[abc", 'missing terminating ] for character class in "[abc"'],
  ["[]", 'missing terminating ] for character class in "[]"'],
  ["a{2,1}", 'numbers out of order in {} quantifier in "a{2,1}" at "}"'],
  ["a{65536}", 'number too big in {} quantifier in "a{65536}" at "}"'],
  ["\\", '\\ at end of pattern in "\\"'],
  ["\\i", 'unrecognized character follows \\ in "\\i" at "i"'],
  ["\\c", '\\c at end of pattern in "\\c"'],
  ["\\2", 'reference to non-existent subpattern in "\\2" at "2"'],
  ["(a)\\g{3}b", 'reference to non-existent subpattern in "(a)\\g{3}b" at "}b"'],
  ["\\k<x>", 'reference to non-existent subpattern in "\\k<x>" at "x>"'],
  ["(?5)", 'reference to non-existent subpattern in "(?5)" at ")"'],
  ["(?<a>x)(?<a>y)", 'two named subpatterns have the same name (PCRE2_DUPNAMES not set) in "(?<a>x)(?<a>y)" at "y)"'],
  ["(?<1a>x)", 'subpattern name must start with a non-digit in "(?<1a>x)" at "1a>x)"'],
  ["(?P<n", 'syntax error in subpattern name (missing terminator?) in "(?P<n"'],
  ["(?Zx)", 'unrecognized character after (? or (?- in "(?Zx)" at "Zx)"'],
  ["(?#abc", 'missing ) after (?# comment in "(?#abc"'],
  ["[[:foo:]]", 'unknown POSIX class name in "[[:foo:]]" at "foo:]]"'],
  ["[:alpha:]", 'POSIX named classes are supported only within a class in "[:alpha:]" at "[:alpha:]"'],
  ["[[.a.]]", 'POSIX collating elements are not supported in "[[.a.]]" at "[.a.]]"'],
  ["[z-a]", 'range out of order in character class in "[z-a]" at "a]"'],
  ["[a-\\d]", 'invalid range in character class in "[a-\\d]" at "]"'],
  ["(?<=a*)b", 'lookbehind assertion is not fixed length in "(?<=a*)b" at "(?<=a*)b"'],
  ["\\x{100}", 'character code point value in \\x{} or \\o{} is too large in "\\x{100}" at "}"'],
  ["\\o{9}", 'non-octal character in \\o{} (closing brace missing?) in "\\o{9}" at "9}"'],
  ["(?:ab){8000}", 'regular expression is too large in "(?:ab){8000}"'],
  ["(*FOO)a", '(*VERB) not recognized or malformed in "(*FOO)a" at ")a"'],
];

test("patterns that do not compile are refused in PCRE2's words", () => {
  for (const [pattern, message] of ERRORS) {
    assert.deepEqual(compileRegex(pattern, false), { error: `pcre2_compile() failed: ${message}` });
  }
});

describe("beside nginx", { skip: NGINX === undefined }, () => {
  test("the sentences are the same", () => {
    for (const [pattern, message] of ERRORS) {
      const [said] = checkConfig(`server { listen unix:/none; location ~ ${quoted(pattern)} { } }`);
      assert.equal(said, `pcre2_compile() failed: ${message}`);
    }
  });

  test("generated patterns match the same, with the same captures", async () => {
    const random = generator(20260131);
    const patterns = Array.from({ length: 400 }, () => ({
      pattern: makePattern(random),
      caseless: random(3) === 0,
    })).filter(({ pattern, caseless }) => !("error" in compileRegex(pattern, caseless)));
    assert.ok(patterns.length > 300);
    const servers = patterns.map(
      ({ pattern, caseless }, i) => `server { LISTEN server_name s${i};
        if ($uri ${caseless ? "~*" : "~"} ${quoted(pattern)}) { return 200 "yes $1|$2|$3|$4"; }
        return 200 "no"; }`,
    );
    const nginx = await startNginx(`merge_slashes off; server_names_hash_max_size 8192; ${servers.join("\n")}`);
    try {
      for (const [i, { pattern, caseless }] of patterns.entries()) {
        for (let round = 0; round < 4; round++) {
          const subject = makeSubject(random);
          const path = subject.replace(/[^/a-z]/gi, (c) => `%${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
          const { body } = await nginx.ask(`s${i}`, path);
          const found = run(pattern, subject, caseless);
          const ours = found === undefined ? "no" : `yes ${[1, 2, 3, 4].map((n) => found[n] ?? "").join("|")}`;
          assert.equal(ours, body, `${JSON.stringify(pattern)} ${caseless} on ${JSON.stringify(subject)}`);
        }
      }
    } finally {
      await nginx.stop();
    }
  });
});

test("both engines match generated patterns the same, with the same captures", () => {
  const random = generator(20261126);
  let compared = 0;
  for (let i = 0; i < 2000; i++) {
    const utf = random(4) === 0;
    const pattern = `${utf ? "(*UTF8)" : ""}${makePattern(random)}`.replaceAll("\\x80", utf ? "\\x{e9}" : "\\x80");
    const caseless = random(3) === 0;
    const regex = compileRegex(pattern, caseless);
    if ("error" in regex) continue;
    const own = ownSearch(pattern, utf, caseless);
    for (let round = 0; round < 6; round++) {
      const subject = makeSubject(random).replaceAll("\x80", utf ? "\u{1f600}" : "\x80");
      const captures: string[] = [];
      try {
        const matched: boolean = regex.exec(utf ? utf8(subject) : subject, captures);
        const expected: readonly string[] | undefined = matched ? withoutEmptyEnd(captures) : undefined;
        assert.deepEqual(
          own(subject),
          expected,
          `${JSON.stringify(pattern)} ${caseless} on ${JSON.stringify(subject)}`,
        );
        compared++;
      } catch (error) {
        // A loop of empty rounds in a loop, before a back reference: PCRE gives up too.
        if (!(error instanceof RegexMatchError)) throw error;
      }
    }
  }
  assert.ok(compared > 5_000);
});

/** A search by our own matcher, whatever the pattern: the captures as `exec` gives them. */
function ownSearch(
  pattern: string,
  utf: boolean,
  caseless: boolean,
): (subject: string) => readonly string[] | undefined {
  const program = compileProgram(parseRegex(pattern, utf ? "(*UTF8)".length : 0, utf, caseless), pattern);
  const registers = new Int32Array(program.registers);
  return (subject) => {
    if (!search(program, subject, registers)) return undefined;
    if (program.groups === 1) return [];
    const all = Array.from({ length: program.groups }, (_, n) => {
      const [start, end] = registers.subarray(2 * n);
      const text = start === -1 ? "" : subject.slice(start, end);
      return utf ? utf8(text) : text;
    });
    return withoutEmptyEnd(all);
  };
}

/** JavaScript leaves a group unset that PCRE sets to "" when it is optional and matched nothing. To nginx both are "". */
function withoutEmptyEnd(captures: readonly string[]): readonly string[] {
  return captures.slice(0, captures.findLastIndex((text) => text !== "") + 1);
}

type Random = (n: number) => number;

function pick<T>(random: Random, choices: readonly T[]): T {
  return choices[random(choices.length)];
}

const ATOMS = [
  "a",
  "b",
  "A",
  "1",
  "/",
  "\\d",
  "\\w",
  "\\s",
  "\\R",
  "\\D",
  ".",
  "[ab]",
  "[^a]",
  "[[:alpha:]-]",
  "\\n",
  "\\x80",
];
const PLACES = ["^", "$", "\\b", "\\B", "\\z", "\\Z"];
const OPENINGS = ["(", "(", "(", "(?:", "(?>", "(?i:", "(?s:", "(?m:", "(?=", "(?!"];
const BEHINDS = ["(?<=a)", "(?<!a|b/)", "(?<=[/b])"];
const QUANTIFIERS = [
  "",
  "",
  "",
  "",
  "*",
  "+",
  "?",
  "*?",
  "+?",
  "??",
  "*+",
  "{2}",
  "{1,2}",
  "{0,}?",
  "{1,20}",
  "{3}?",
  "{2,}",
  "{1,3}?",
  "++",
];

function makePattern(random: Random, depth = 3): string {
  const terms = Array.from({ length: 1 + random(3) }, () => makeTerm(random, depth)).join("");
  return random(4) === 0 ? `${terms}|${makePattern(random, depth - 1)}` : terms;
}

function makeTerm(random: Random, depth: number): string {
  switch (depth <= 0 ? 0 : random(9)) {
    case 8:
      return random(2) === 0
        ? `(a)?(?(1)${makePattern(random, 0)}|${makePattern(random, 0)})`
        : `(?(?${pick(random, ["=", "!", "<=", "<!"])}${pick(random, ["a", "b/"])})${makePattern(random, 0)}|b)`;
    case 5:
      return pick(random, PLACES);
    case 6:
      return pick(random, BEHINDS);
    case 7:
      return `(a|(b))${pick(random, QUANTIFIERS)}\\${1 + random(3)}`;
    case 3:
    case 4:
      return `${pick(random, OPENINGS)}${makePattern(random, depth - 1)})${pick(random, QUANTIFIERS)}`;
    default:
      return `${pick(random, ATOMS)}${pick(random, QUANTIFIERS)}`;
  }
}

function makeSubject(random: Random): string {
  const letters = ["a", "b", "a", "b", "A", "B", "1", "/", "\n", "\r", " ", "-", "\x80"];
  return `/${Array.from({ length: random(8) }, () => pick(random, letters)).join("")}`;
}
