import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { reachesOut, type Scope, sealable, valueIn } from "../../src/config/schema.ts";
import { buildingScopes, isRead } from "../../src/config/scopes.ts";
import { deserializingDirectives, serializeDirectives } from "../../src/config/serialize.ts";
import { whole } from "../../src/sys/sliced.ts";
import { core, events, http, tables, upstream } from "./tables.ts";
import { build, errorOf, parse, workspace } from "./workspace.ts";

const directory = workspace();

/** The scope reached by going down by position. */
function down(scope: Scope, ...path: readonly number[]): Scope {
  return path.reduce((at, index) => at.children[index], scope);
}

test("a sealed block is read when it is first looked into, and has what it would have had", () => {
  const text = `http { send_timeout 10s;
    server { sendfile on; location /a { send_timeout 1h; if ($uri) { sendfile off; } } location /b { location /b/c { } } } }`;
  const { directives } = parse(directory, text);
  const root = whole(buildingScopes({ files: [], directives }, tables));
  const sealed = sealable(root);
  assert.deepEqual(
    [...sealed.whole].map(({ args }) => args),
    [["/a"], ["/b/c"]],
  );
  assert.equal(sealed.half.size, 0, "not every block of the server can be sealed");
  const sent = whole(deserializingDirectives(serializeDirectives(directives, sealed)));
  const late = whole(buildingScopes({ files: [], directives: sent }, tables));
  const [a, b] = down(late, 0, 0).children;
  assert.deepEqual([isRead(a), isRead(b), isRead(b.children[0])], [false, true, false]);
  assert.equal(a.directive.args[0], "/a");
  assert.equal(isRead(a), false);
  assert.deepEqual(http.in(a), http.in(down(root, 0, 0, 0)));
  assert.deepEqual(http.in(a.children[0]), http.in(down(root, 0, 0, 0, 0)));
  assert.equal(isRead(a), true);
  assert.equal(a.children[0].parent, a);
});

test("what reaches out keeps its location from being sealed, and the blocks around it", () => {
  const text = "http { server { location /a { if ($uri) { sendfile off; } } location /b { sendfile on; } } }";
  const { directives } = parse(directory, text);
  const root = whole(buildingScopes({ files: [], directives }, tables));
  const block = down(root, 0, 0, 0, 0);
  reachesOut(block, block.order[0].directive);
  assert.deepEqual(
    [...sealable(root).whole].map(({ args }) => args),
    [["/b"]],
  );
  assert.equal(sealable(root).half.size, 0);
});

test("a block of which all blocks can be sealed is half read: they are read when they are first looked for", () => {
  const text = `http { send_timeout 10s;
    server { sendfile on; location /a { send_timeout 1h; } return 403; location /b { } }
    server { if ($host) { return 403; } location /c { } }
    server { sendfile on; location /d { } }
    server { ${"location /e { }".repeat(101)} }
    server { sendfile on; } }`;
  const { directives } = parse(directory, text);
  const root = whole(buildingScopes({ files: [], directives }, tables));
  const third = down(root, 0, 2);
  reachesOut(third, third.order[0].directive);
  const sealed = sealable(root);
  const servers = down(root, 0).children;
  assert.deepEqual(
    servers.map(({ directive }) => sealed.half.has(directive)),
    [true, false, false, false, true],
  );
  const sent = whole(deserializingDirectives(serializeDirectives(directives, sealed)));
  const late = down(whole(buildingScopes({ files: [], directives: sent }, tables)), 0);
  const [one] = late.children;
  assert.deepEqual(late.children.map(isRead), [false, true, true, true, false]);
  assert.deepEqual({ ...http.in(one), location: "/b" }, http.in(servers[0]));
  assert.deepEqual([isRead(one), one.hasChildren], [false, true]);
  assert.deepEqual(
    one.children.map(({ directive }) => directive.args),
    [["/a"], ["/b"]],
  );
  assert.deepEqual(one.children.map(isRead), [false, false]);
  assert.deepEqual(http.in(one.children[0]), http.in(servers[0].children[0]));
  assert.deepEqual(
    one.order.map(({ directive }) => directive.name),
    ["sendfile", "return", "location", "location"],
  );
  assert.equal(isRead(one), true);
});

describe("scopes", () => {
  const root = build(
    directory,
    `daemon off;
     events { multi_accept on; }
     http {
       send_timeout 10s;
       map $uri $x { default 1; a 2; }
       upstream u { server a; server b weight=2; }
       server {
         sendfile on;
         if ($host) { return 403; }
         location /a { send_timeout 1h; if ($uri) { sendfile off; } }
       }
       server { }
     }`,
  );

  test("follow the blocks that have a context", () => {
    const shape = (scope: Scope): unknown => [scope.context, ...scope.children.map(shape)];
    assert.deepEqual(shape(root), [
      "main",
      ["events"],
      ["http", ["upstream"], ["server", ["if in server"], ["location", ["if in location"]]], ["server"]],
    ]);
    assert.equal(down(root, 1, 1).parent, down(root, 1));
    assert.equal(down(root, 1, 1).directive.name, "server");
  });

  test("hold their own settings", () => {
    assert.equal(core.own(root).daemon, false);
    assert.equal("timer_resolution" in core.own(root), false);
    assert.deepEqual(upstream.own(down(root, 1, 0)).server, ["a", "b"]);
    assert.equal(http.own(down(root, 1, 1)).send_timeout, undefined);
  });

  test("inherit what they do not set, down to the default", () => {
    const server = down(root, 1, 1);
    const location = down(server, 1);
    assert.equal(http.in(server).send_timeout, 10_000);
    assert.equal(http.in(location).send_timeout, 3_600_000);
    assert.equal(http.in(location).sendfile, true);
    assert.equal(http.in(down(location, 0)).sendfile, false);
    assert.equal(http.in(down(root, 1, 2)).sendfile, false);
    assert.equal(http.in(location).client_max_body_size, 1 << 20);
    assert.equal(events.in(down(root, 0)).worker_connections, 512);
  });

  test("do not inherit what is declared not to be", () => {
    const inIf = down(root, 1, 1, 0);
    assert.deepEqual(valueIn(inIf, http.specs.return), ["403"]);
    assert.equal(valueIn(down(root, 1, 1, 1), http.specs.return), undefined);
  });

  test("share their settings with the blocks inside that set none", () => {
    const block = build(
      directory,
      `events { } http { server { send_timeout 5s; return 204;
         location /a { } location /b { } location /c { sendfile on; location /d { } } } }`,
    ).children[1];
    const server = http.in(down(block, 0));
    const [a, b, c] = down(block, 0).children.map((scope) => http.in(scope));
    assert.equal(a, b);
    assert.deepEqual([server.return, a.return, a.send_timeout, a.sendfile], [["204"], undefined, 5000, false]);
    assert.deepEqual([c.return, c.send_timeout, c.sendfile], [undefined, 5000, true]);
    assert.deepEqual(http.in(down(block, 0, 2, 0)), { ...c, location: undefined });
    assert.equal(core.in(down(block, 0, 2, 0)), core.in(block));
  });

  test("keep the order and the places of directives", () => {
    const server = down(root, 1, 1);
    assert.deepEqual(
      server.order.map(({ directive, child }) => [directive.name, child?.context]),
      [
        ["sendfile", undefined],
        ["if", "if in server"],
        ["location", "location"],
      ],
    );
    assert.equal(server.places.get(http.specs.sendfile)?.line, 8);
  });

  test("share their notes", () => {
    const key = Symbol("test");
    down(root, 1, 1, 1).notes.set(key, 1);
    assert.equal(root.notes.get(key), 1);
  });

  test("a free block is read by its directive alone", () => {
    assert.deepEqual(
      valueIn(down(root, 1), http.specs.map),
      new Map([
        ["default", "1"],
        ["a", "2"],
      ]),
    );
  });
});

describe("errors", () => {
  const place = `in ${directory}nginx.conf`;

  test("a directive of nginx that no table declares is told from a misspelling", () => {
    assert.equal(
      errorOf(() => build(directory, "events {}\nhttp { perl_modules x; }")),
      `"perl_modules" directive is known to nginx but not available in Holdfast yet ${place}:2`,
    );
    assert.equal(
      errorOf(() => build(directory, "pearl_modules x;")),
      `unknown directive "pearl_modules" ${place}:1`,
    );
  });

  test("names of JavaScript's own are no directives", () => {
    for (const name of ["constructor", "__proto__", "toString"]) {
      assert.equal(
        errorOf(() => build(directory, `${name} x;`)),
        `unknown directive "${name}" ${place}:1`,
      );
    }
  });

  test("an include that went wrong is not a directive of the configuration", () => {
    const tree = { files: [], directives: [{ name: "include", args: ["a", "b"], file: "f", line: 3 }] };
    assert.equal(
      errorOf(() => whole(buildingScopes(tree, tables))),
      'invalid number of arguments in "include" directive in f:3',
    );
  });
});

test("ten thousand servers in one upstream", () => {
  const servers = Array.from({ length: 10_000 }, (_, i) => `server 10.0.${i >> 8}.${i & 255}:80 weight=5 max_fails=2;`);
  const text = `events {}\nhttp {\nupstream u {\n${servers.join("\n")}\n}\n}\n`;
  const root = build(directory, text);
  assert.equal(upstream.own(down(root, 1, 0)).server?.length, 10_000);
});
