import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type LocationName, nestingError, parseLocationName } from "../../../src/http/conf/location_name.ts";
import {
  buildLocationTree,
  findLocation,
  type LocationEntry,
  type LocationTree,
  newLocationSearch,
} from "../../../src/http/conf/location_tree.ts";
import { compileRegex } from "../../../src/regex/regex.ts";
import { checkConfig, generator, NGINX, quoted, startNginx } from "../../support/reference_nginx.ts";

/** A location as these tests write it: the arguments, what it answers to, and what is inside. */
interface Plan {
  readonly args: readonly string[];
  readonly answer: string;
  readonly proxied: boolean;
  readonly inside: readonly Plan[];
}

function nameOf(args: readonly string[]): LocationName {
  const name = parseLocationName(args);
  assert.ok(!("error" in name));
  return name;
}

function entryOf(plan: Plan): LocationEntry<string> {
  const name = nameOf(plan.args);
  const regex = name.kind === "regex" ? compileRegex(name.name, name.caseless) : undefined;
  assert.ok(regex === undefined || !("error" in regex));
  return {
    ...name,
    location: plan.answer,
    regex,
    autoRedirect: plan.proxied && name.name.endsWith("/"),
    nested: plan.inside.length === 0 ? undefined : treeOf(plan.inside),
  };
}

function treeOf(plans: readonly Plan[]): LocationTree<string> {
  const tree = buildLocationTree(plans.map(entryOf));
  assert.ok(!("error" in tree));
  return tree;
}

function plan(text: string, ...inside: readonly Plan[]): Plan {
  return { args: text.split(" "), answer: text, proxied: false, inside };
}

const search = newLocationSearch<string>();

function choose(tree: LocationTree<string>, uri: string): string | undefined {
  findLocation(tree, uri, search);
  return search.redirect === undefined ? search.location : `redirect ${search.redirect}`;
}

describe("choosing a location", () => {
  test("the example of nginx's documentation", () => {
    const tree = treeOf([
      plan("= /"),
      plan("/"),
      plan("/documents/"),
      plan("^~ /images/"),
      plan("~* \\.(gif|jpg|jpeg)$"),
    ]);
    assert.equal(choose(tree, "/"), "= /");
    assert.equal(choose(tree, "/index.html"), "/");
    assert.equal(choose(tree, "/documents/document.html"), "/documents/");
    assert.equal(choose(tree, "/images/1.gif"), "^~ /images/");
    assert.equal(choose(tree, "/documents/1.JPG"), "~* \\.(gif|jpg|jpeg)$");
    assert.deepEqual(search.captures, [".JPG", "JPG"]);
  });

  test("a lone location", () => {
    const tree = treeOf([plan("/a")]);
    assert.equal(choose(tree, "/ab"), "/a");
    assert.equal(choose(tree, "/b"), undefined);
  });

  test("regexes beside a prefix win over what is nested in it, unless that is exact", () => {
    const tree = treeOf([plan("/a", plan("/a/b"), plan("= /a/c"), plan("~ x$")), plan("~ (y|b|c)$")]);
    assert.equal(choose(tree, "/a/b"), "~ (y|b|c)$");
    assert.equal(choose(tree, "/a/c"), "= /a/c");
    assert.equal(choose(tree, "/a/xx"), "~ x$");
    assert.equal(choose(tree, "/a/z"), "/a");
  });

  test("each regex that matches is told of, the outer first", () => {
    const tree = treeOf([plan("~ ^/(\\w+)", plan("~ \\.(\\w+)$"))]);
    const told: string[] = [];
    const listening = newLocationSearch<string>();
    listening.matched = (regex, captures) => told.push(`${regex.pattern} ${captures[1]}`);
    findLocation(tree, "/one.txt", listening);
    assert.deepEqual(told, ["^/(\\w+) one", "\\.(\\w+)$ txt"]);
    assert.equal(listening.regex?.pattern, "\\.(\\w+)$");
  });

  test("a slash is added for a proxied prefix, whatever sorts between", () => {
    const proxied = { ...plan("/x/"), proxied: true };
    const tree = treeOf([proxied, plan("/x-a"), plan("/x-b"), plan("/x!"), plan("/")]);
    assert.equal(choose(tree, "/x"), "redirect /x/");
    assert.equal(choose(tree, "/x/y"), "/x/");
    assert.equal(choose(treeOf([proxied, plan("= /x")]), "/x"), "= /x");
  });

  test("named locations stand apart", () => {
    const tree = treeOf([plan("@a"), plan("/")]);
    assert.equal(tree.named.get("@a")?.location, "@a");
    assert.equal(choose(tree, "@a"), undefined);
  });
});

/** Locations that nginx refuses, and its sentence. */
const ERRORS: readonly (readonly [outer: string | undefined, inner: readonly string[], message: string])[] = [
  [undefined, ["!", "/a"], 'invalid location modifier "!"'],
  ["= /a", ["/a/b"], 'location "/a/b" cannot be inside the exact location "/a"'],
  ["@a", ["/a"], 'location "/a" cannot be inside the named location "@a"'],
  ["/a", ["@b"], 'named location "@b" can be on the server level only'],
  ["/a", ["/b"], 'location "/b" is outside location "/a"'],
  ["~ ^/a", ["/a/b"], 'location "/a/b" is outside location "^/a"'],
];

function errorOf(outer: string | undefined, inner: readonly string[]): string | undefined {
  const name = parseLocationName(inner);
  if ("error" in name) return name.error;
  return nestingError(name, outer === undefined ? undefined : nameOf(outer.split(" ")));
}

test("locations in the wrong place are refused in nginx's words", () => {
  for (const [outer, inner, message] of ERRORS) assert.equal(errorOf(outer, inner), message);
  assert.equal(errorOf("/a", ["~", "^/b"]), undefined);
  assert.equal(errorOf("/a", ["=", "/ab"]), undefined);
});

test("a location written twice is refused, the second being named", () => {
  const twice = buildLocationTree([plan("/x"), plan("= /x"), { ...plan("^~ /x"), answer: "second" }].map(entryOf));
  assert.ok("error" in twice);
  assert.equal(twice.error, 'duplicate location "/x"');
  assert.equal(twice.second.location, "second");
});

type Random = (n: number) => number;

const STEPS = ["/", "a", "b", "/a", "/b", "-", "/a/", ".x", "A", "ab"];
const PATTERNS = ["^/a", "b$", "\\.x$", "/(a+)/", "A", "^/b/.*a", "(-|b/)", "^/$", "ab"];

function makePath(random: Random, from: string): string {
  let path = from;
  for (let steps = random(4); steps > 0; steps--) path += STEPS[random(STEPS.length)];
  return path;
}

function makePlans(random: Random, outer: string, depth: number, id: string): Plan[] {
  const plans: Plan[] = [];
  const taken = new Set<string>();
  for (let i = 1 + random(depth === 0 ? 9 : 4); i > 0; i--) {
    const modifier = ["", "", "", "=", "^~", "~", "~*"][random(7)];
    const isRegex = modifier.startsWith("~");
    const name = isRegex ? PATTERNS[random(PATTERNS.length)] : makePath(random, outer);
    if (!isRegex && taken.has((modifier === "=" ? "=" : "") + name)) continue;
    if (!isRegex) taken.add((modifier === "=" ? "=" : "") + name);
    const answer = `${id}.${i}`;
    const nests = depth < 2 && modifier !== "=" && random(3) === 0;
    plans.push({
      args: modifier === "" ? [name] : [modifier, name],
      answer,
      // nginx lets no proxy_pass with a path stand in a regex location; none here has a path.
      proxied: random(2) === 0,
      // Inside a regex location only regexes can stand: no path begins with its text.
      inside: nests
        ? makePlans(random, name, depth + 1, answer).filter((inner) => !isRegex || /^~/.test(inner.args[0]))
        : [],
    });
  }
  return plans;
}

function written(plans: readonly Plan[]): string {
  return plans
    .map(({ args, answer, proxied, inside }) => {
      const place = args.length === 2 ? `${args[0]} ${quoted(args[1])}` : quoted(args[0]);
      const proxy = proxied ? "proxy_pass http://127.0.0.1:1;" : "";
      return `location ${place} { return 200 "${answer} $1"; ${proxy} ${written(inside)} }`;
    })
    .join("\n");
}

describe("beside nginx", { skip: NGINX === undefined }, () => {
  test("the sentences are the same", () => {
    for (const [outer, inner, message] of ERRORS) {
      const location = `location ${inner.join(" ")} { }`;
      const nested = outer === undefined ? location : `location ${outer} { ${location} }`;
      assert.deepEqual(checkConfig(`server { listen unix:/none; ${nested} }`).slice(0, 1), [message]);
    }
    const [said] = checkConfig("server { listen unix:/none; location /x { } location ^~ /x { } }");
    assert.equal(said, 'duplicate location "/x"');
  });

  test("generated locations are chosen the same", async () => {
    const random = generator(7);
    const servers = Array.from({ length: 60 }, (_, i) => makePlans(random, "/", 0, `s${i}`));
    const nginx = await startNginx(
      servers
        .map(
          (plans, i) =>
            `server { LISTEN server_name s${i}; absolute_redirect off; ${written(plans)} location @none { return 404; } }`,
        )
        .join("\n"),
    );
    try {
      for (const [i, plans] of servers.entries()) {
        const tree = treeOf(plans);
        for (let round = 0; round < 40; round++) {
          const uri = makePath(random, "/").replace(/\/+/g, "/");
          const { status, location, body } = await nginx.ask(`s${i}`, uri);
          const expected =
            status === 200 ? body : status === 301 && location !== undefined ? `redirect ${location}` : "none";
          search.captures.length = 0;
          const chosen = choose(tree, uri);
          const ours =
            chosen === undefined
              ? "none"
              : search.redirect === undefined
                ? `${chosen} ${search.captures[1] ?? ""}`
                : chosen;
          assert.equal(ours, expected, `${uri} in ${written(plans)}`);
        }
      }
    } finally {
      await nginx.stop();
    }
  });
});
