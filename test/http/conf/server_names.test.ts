import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  buildServerNames,
  findServer,
  type NamedServer,
  parseServerName,
  primaryServerName,
  type ServerName,
  type ServerNames,
} from "../../../src/http/conf/server_names.ts";
import { addWildcardKey, findWildcard, newWildcardHash } from "../../../src/http/conf/wildcard_hash.ts";
import { checkConfig, generator, NGINX, quoted, startNginx } from "../../support/reference_nginx.ts";

function namesOf(args: readonly string[]): ServerName[] {
  return args.map((arg) => {
    const parsed = parseServerName(arg, "machine.example");
    assert.ok(!("error" in parsed), "error" in parsed ? parsed.error : "");
    return parsed.serverName;
  });
}

function serversOf(...lists: readonly (readonly string[])[]): NamedServer<number>[] {
  return lists.map((args, server) => ({ server, names: namesOf(args) }));
}

function build(servers: readonly NamedServer<number>[]): {
  readonly names: ServerNames<number>;
  readonly warnings: readonly string[];
} {
  const built = buildServerNames(servers, 0, "0.0.0.0:80");
  assert.ok(!("error" in built), "error" in built ? built.error : "");
  return built;
}

describe("server names", () => {
  test("exact, then the longest wildcard in front, then the longest behind, then regexes, then the default", () => {
    const { names, warnings } = build(
      serversOf(
        ["default"],
        ["www.example.com"],
        ["*.example.com"],
        ["*.com", ".deep.example.com"],
        ["www.example.*", "www.*"],
        ["~^(?<x>\\w+)\\.net$"],
      ),
    );
    assert.deepEqual(warnings, []);
    const find = (host: string): number => findServer(names, host, []);
    assert.equal(find("www.example.com"), 1);
    assert.equal(find("a.b.example.com"), 2);
    assert.equal(find("example.com"), 3);
    assert.equal(find("deep.example.com"), 3);
    assert.equal(find("a.deep.example.com"), 3);
    assert.equal(find("www.example.net"), 4);
    assert.equal(find("www.x"), 4);
    assert.equal(find("www"), 0);
    assert.equal(find("a.net"), 5);
    assert.equal(find(""), 0);
  });

  test("captures of the regex that chose, even for a lone server", () => {
    const { names } = build(serversOf(["~^(?<user>\\w+)\\.(com)$"]));
    const captures: string[] = [];
    let told: readonly string[] = [];
    const server = findServer(names, "me.com", captures, (regex) => {
      told = regex.names.map(({ name, index }) => `${name}=${captures[index]}`);
    });
    assert.equal(server, 0);
    assert.deepEqual(told, ["user=me"]);
    assert.deepEqual(captures, ["me.com", "me", "com"]);
  });

  test("a lone server without captures needs no lookup", () => {
    assert.equal(build(serversOf(["a", "b", "a"])).names.hash, undefined);
  });

  test("a name taken already is ignored with a warning", () => {
    const { names, warnings } = build(serversOf([], ["a", "*.b", ".c"], ["", "A", "*.B", "c", ".b"]));
    assert.deepEqual(warnings, [
      'conflicting server name "" on 0.0.0.0:80, ignored',
      'conflicting server name "a" on 0.0.0.0:80, ignored',
      'conflicting server name "*.b" on 0.0.0.0:80, ignored',
      'conflicting server name "c" on 0.0.0.0:80, ignored',
      'conflicting server name ".b" on 0.0.0.0:80, ignored',
    ]);
    assert.equal(findServer(names, "a", []), 1);
  });

  test("what $server_name shows", () => {
    assert.equal(primaryServerName(namesOf([".Example.com", "b"])), "example.com");
    assert.equal(primaryServerName(namesOf(["~^a"])), "~^a");
    assert.equal(primaryServerName(namesOf(["$hostname"])), "machine.example");
    assert.equal(primaryServerName([]), "");
  });
});

/** Names nginx refuses or warns about. */
const SENTENCES: readonly (readonly [name: string, message: string])[] = [
  ["*", 'server name "*" is invalid'],
  ["*a.com", 'server name "*a.com" is invalid'],
  [".", 'server name "." is invalid'],
  ["~", 'empty regex in server name "~"'],
  ["a/b", 'server name "a/b" has suspicious symbols'],
  ["a.*.b", 'invalid server name or wildcard "a.*.b" on 0.0.0.0:8099'],
  ["*.a.*", 'invalid server name or wildcard "*.a.*" on 0.0.0.0:8099'],
  ["a..b", 'invalid server name or wildcard "a..b" on 0.0.0.0:8099'],
  ["~(", 'pcre2_compile() failed: missing closing parenthesis in "("'],
];

function sentenceOf(name: string): string | undefined {
  const parsed = parseServerName(name, "");
  if ("error" in parsed) return parsed.error;
  if (parsed.warning !== undefined) return parsed.warning;
  const servers = [{ server: 0, names: [parsed.serverName] }, ...serversOf(["other"])];
  const built = buildServerNames(servers, 0, "0.0.0.0:8099");
  return "error" in built ? built.error : built.warnings[0];
}

test("bad names are refused in nginx's words", () => {
  for (const [name, message] of SENTENCES) assert.equal(sentenceOf(name), message);
});

test("host wildcards elsewhere: conflicts and values", () => {
  const hash = newWildcardHash<string>();
  assert.equal(addWildcardKey(hash, "*.Example.com", "head"), "added");
  assert.equal(addWildcardKey(hash, ".example.com", "both"), "conflict");
  assert.equal(addWildcardKey(hash, "mail.*", "tail"), "added");
  assert.equal(addWildcardKey(hash, "x*", "odd"), "invalid");
  assert.equal(findWildcard(hash, "a.example.com"), "head");
  assert.equal(findWildcard(hash, "example.com"), undefined);
  assert.equal(findWildcard(hash, "mail.org"), "tail");
});

describe("beside nginx", { skip: NGINX === undefined }, () => {
  test("the sentences are the same", () => {
    for (const [name, message] of SENTENCES) {
      const config = `server { listen 8099; server_name ${quoted(name)}; } server { listen 8099; server_name other; }`;
      assert.deepEqual(checkConfig(config).slice(0, 1), [message]);
    }
  });

  test("generated names are chosen the same", async () => {
    const random = generator(11);
    const label = (): string => ["a", "b", "www", "com"][random(4)];
    const host = (): string => Array.from({ length: 1 + random(4) }, label).join(".");
    const name = (): string => {
      const exact = host();
      return [exact, `*.${exact}`, `.${exact}`, `${exact}.*`, `~^(${exact})\\.(\\w+)`, `~${label()}$`][random(6)];
    };
    for (let scene = 0; scene < 4; scene++) {
      const lists = Array.from({ length: 5 + scene * 3 }, () => Array.from({ length: random(4) }, name));
      const servers = serversOf(...lists);
      const nginx = await startNginx(
        lists
          .map(
            (list, i) =>
              `server { LISTEN ${list.length === 0 ? "" : `server_name ${list.map(quoted).join(" ")};`} return 200 "${i} $1"; }`,
          )
          .join("\n"),
      );
      try {
        const { names } = build(servers);
        for (let round = 0; round < 150; round++) {
          const wanted = host();
          const captures: string[] = [];
          const server = findServer(names, wanted, captures);
          assert.equal(
            `${server} ${captures[1] ?? ""}`,
            (await nginx.ask(wanted, "/")).body,
            `${wanted} ${JSON.stringify(lists)}`,
          );
        }
      } finally {
        await nginx.stop();
      }
    }
  });
});
