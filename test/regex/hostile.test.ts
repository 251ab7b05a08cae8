import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type CompiledRegex, compileRegex, RegexMatchError } from "../../src/regex/regex.ts";
import { effort } from "../../src/regex/search.ts";
import { NGINX, quoted, startNginx } from "../support/reference_nginx.ts";

function compiled(pattern: string): CompiledRegex {
  const regex = compileRegex(pattern, false);
  assert.ok(!("error" in regex), "error" in regex ? regex.error : "");
  return regex;
}

/** "yes", "no", or PCRE's number of a search that is given up. */
function answer(pattern: string, subject: string): string {
  effort.steps = 0;
  try {
    return compiled(pattern).test(subject) ? "yes" : "no";
  } catch (error) {
    assert.ok(error instanceof RegexMatchError);
    assert.equal(error.message, `pcre2_match() failed: ${error.code} on "${subject}" using "${pattern}"`);
    return String(error.code);
  }
}

type Row = readonly [pattern: string, subject: (length: number) => string, answer: string];

const a = (length: number): string => "a".repeat(length);
const filled = (text: string, end: string) => (length: number) => text.repeat(length / text.length) + end;

/**
 * Patterns that backtracking takes exponential time for, or time that grows with a high power of the subject, and what
 * they find. Each takes a number of steps in proportion to the subject.
 */
const DECIDED: readonly Row[] = [
  ["^(a+)+$", filled("a", "!"), "no"],
  ["^(a|aa)+$", filled("a", "!"), "no"],
  ["^(a*)*b$", filled("a", "bc"), "no"],
  ["(x+x+)+y", filled("x", "z"), "no"],
  ["^(([a-z])+.)+[A-Z]([a-z])+$", filled("a", ""), "no"],
  ["^/(a|b|ab)*x$", (n) => `/${filled("ab", "")(n)}`, "no"],
  ["(?=/x)/x(a+)+b$", (n) => `/x${a(n)}bc`, "no"],
  ["(?=/x)/x(a+)+b$", (n) => `/x${a(n)}b`, "yes"],
  ["(?!/y)/x(a|aa)+b$", (n) => `/x${a(n)}bc`, "no"],
  ["(?<=/)x(a*)*b$", (n) => `/x${a(n)}bc`, "no"],
  ["(?>/)x(a+)+b$", (n) => `/x${a(n)}bc`, "no"],
  ["/++x(a+)+b$", (n) => `/x${a(n)}bc`, "no"],
  ["^(?:(a+)+(?!c))b$", filled("a", "bc"), "no"],
  ["^/(\\w{1,20})+$", (n) => `/${a(n)}!`, "no"],
  ["^/([a-z0-9]{1,63}\\.?)+$", (n) => `/${a(n)}!`, "no"],
  ["^(.*?,){20}P", filled("1,", "QP"), "no"],
  ["^(?:a?){30}b$", filled("a", "bc"), "no"],
  ["^(a{1,40}){1,40}b$", filled("a", "bc"), "no"],
  ["^(\\d{1,3}\\.?){4,}$", filled("1", "x"), "no"],
  ["^([a-z]{2,30}[0-9]*)*-$", filled("ab", "-x"), "no"],
  ["(*UTF8)^(a+)+$", filled("a", "!"), "no"],
  ["(*UTF8)^(\xc3\xa9+)+$", filled("\xc3\xa9", "!"), "no"],
  ["(*UTF8)^(?:a|\xc3\xa9|a\xc3\xa9)*$", filled("a\xc3\xa9", "!"), "no"],
  ["(*UTF8)(?i)^(\\w+\\s?)*$", filled("a", "!"), "no"],
  ["(*UTF8)(.*)/(.*)/(.*)x$", filled("/", "xy"), "no"],
  ["(.*)(.*)(.*)x$", filled("a", "xb"), "no"],
  ["(.*)/(.*)\\.php$", filled("/", ".phpx"), "no"],
  ["(.*)/(.*)\\.php$", filled("/", ".php"), "yes"],
  ["[a-z]+$", filled("a", "!"), "no"],
  ["\\s+$", filled(" ", "x"), "no"],
  ["a.*b.*c.*d", filled("abc", ""), "no"],
  ["[ab]*?c[^c]", filled("ab", ""), "no"],
  ["(?:[^/]+/?)*\\?x", filled("a", "?y"), "no"],
  ["^(?:/(?:([a-z]+)|([0-9]+)))+/?$", filled("/ab/12", ""), "yes"],
  ["^(?:/(?:([a-z]+)|([0-9]+)))+/?$", filled("/ab/12", "!"), "no"],
  ["^(?:([a-z])|\\d|[a-z]\\d)*$", filled("a1", "!"), "no"],
  ["^(?:(a)|b|ab)*c$", filled("ab", "cd"), "no"],
  ["^(?:([^/]*)/?)*\\.php$", filled("a/", ".phpx"), "no"],
  ["<(\\w+)(?:\\s+\\w+=\\w*)*\\s*/>", filled("<a b=c", "/"), "no"],
  ["^(?<n>[a-z]+)(?:-(?<m>[a-z]+)?)*$", filled("a-", "!"), "no"],
];

/** Where a failure may depend on what the groups hold, or is inside an atomic group, nothing but the limit helps, as in PCRE. */
const GIVEN_UP: readonly Row[] = [
  ["^(?<x>(a|aa)+)\\k<x>!$", (n) => `${a(n)}!b`, "-47"],
  ["^((?:a|b|ab)*)\\1c$", filled("ab", "cd"), "-47"],
  ["(?>(?:a|aa)+c)b$", filled("a", "bc"), "-47"],
  ["^(?=(?:a|aa)+c)", filled("a", "bc"), "-47"],
  ["^(?:a|(a)a|(?(1)x|aa))+c$", filled("a", "cb"), "-47"],
];

describe("hostile subjects", () => {
  for (const [pattern, subject, expected] of DECIDED) {
    test(`${pattern}: ${expected}`, () => {
      for (const length of [60, 1200, 7800, 60_000]) {
        assert.equal(answer(pattern, subject(length)), expected, `${length} bytes`);
        assert.ok(effort.steps <= 200 * (length + 100), `${length} bytes: ${effort.steps} steps`);
      }
    });
  }

  for (const [pattern, subject, expected] of GIVEN_UP) {
    test(`${pattern} is given up`, () => {
      assert.equal(answer(pattern, subject(60)), expected);
    });
  }

  test("a subject without what every match contains is not searched", () => {
    assert.equal(answer("^(?<x>(a|aa)+)\\k<x>!$", `${a(60)}b`), "no");
    assert.equal(effort.steps, 0);
  });

  test("huge subjects are no exception", () => {
    const huge = "ab".repeat(200_000);
    assert.equal(answer("^(?:(a)|b|ab)*$", huge), "yes");
    assert.equal(answer("^(?:a|b)*c", `${huge}c`), "yes");
    assert.equal(answer("^((?:a|b)*)\\1!", `${huge}!`), "-47");
    // More alternatives than there is room for.
    assert.equal(answer("^(?:(a)|b|ab)*$", huge.repeat(20)), "-63");
  });

  test("a recursion that gets nowhere ends", () => {
    assert.equal(answer("((?1)|a)b", "ab"), "-52");
  });

  test("a subject that is no UTF-8 is an error", () => {
    assert.equal(answer("(*UTF8)a", "a\xff"), "-22");
  });
});

test("nginx finds the same, or gives up", { skip: NGINX === undefined }, async () => {
  const rows = [...DECIDED, ...GIVEN_UP].filter(([, subject]) => /^[!-~]*$/.test(subject(60)));
  const servers = rows.map(
    ([pattern], i) =>
      `server { LISTEN server_name s${i}; if ($arg_s ~ ${quoted(pattern)}) { return 200 "yes"; } return 200 "no"; }`,
  );
  const nginx = await startNginx(`server_names_hash_max_size 8192; ${servers.join("\n")}`);
  try {
    for (const [i, [pattern, subject, expected]] of rows.entries()) {
      const { status, body } = await nginx.ask(`s${i}`, `/?s=${subject(60)}`);
      if (status !== 500) assert.equal(body, expected, pattern);
    }
  } finally {
    await nginx.stop();
  }
});
