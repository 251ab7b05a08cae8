/** What a configuration that is refused says: nginx's first sentence first, then all others, each once, no consequences. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { sentences } from "../../../src/config/errors.ts";
import { program } from "../../../src/program.ts";
import { loadConfiguration, validateCycle } from "../../../src/runtime/master/load_cycle.ts";
import { workspace, write } from "../../config/workspace.ts";
import { have } from "../../support/have.ts";
import { NGINX } from "../../support/reference_nginx.ts";

const directory = workspace();

/** Every sentence, with the place as `:LINE` or ` FILE:LINE` for an included one; and the warnings. */
async function says(text: string): Promise<{ errors: readonly string[]; warnings: readonly string[] }> {
  const confFile = write(directory, "nginx.conf", text);
  const paths = { prefix: directory, confPrefix: directory, confFile, errorLog: "/dev/null" };
  const whole = program();
  const loaded = loadConfiguration(whole, paths, undefined);
  const short = (line: string) =>
    line
      .replace(` in ${confFile}`, "")
      .replaceAll(directory, "")
      .replace(/^(open\(\) )"\/*/, '$1"');
  try {
    const { warnings } = await validateCycle(whole, paths, loaded, undefined);
    return { errors: [], warnings: warnings.map(({ message, line }) => `${message}:${line}`) };
  } catch (error) {
    return { errors: sentences(error).map(short), warnings: [] };
  }
}

const errors = async (text: string) => (await says(text)).errors;

/** Two or more faults each, of different kinds, that nginx looks for at different times. */
const FIRST: readonly (readonly [name: string, text: string])[] = [
  ["two unknown directives", "events {}\nfoo;\nbar;"],
  ["a block's end and what follows", "events {}\nhttp {\nupstream a {\n}\nfoo;\n}"],
  [
    "a host of an upstream before an unknown directive",
    "events {}\nhttp {\nupstream a { server no.invalid; }\nfoo;\n}",
  ],
  ["a host of an upstream after it", "events {}\nhttp {\nfoo;\nupstream a { server no.invalid; }\n}"],
  ["listen before an unknown directive", "events {}\nhttp {\nserver {\nlisten 80 foo;\nbar;\n}\n}"],
  ["server_name before an unknown directive", "events {}\nhttp {\nserver {\nserver_name .;\nbar;\n}\n}"],
  ["a location's regex before an unknown directive", 'events {}\nhttp {\nserver {\nlocation ~ "(" { }\nbar;\n}\n}'],
  ["a location in the wrong place", "events {}\nhttp {\nserver {\nlocation /a {\nlocation /b { }\n}\nbar;\n}\n}"],
  [
    "a duplicate location before an unknown directive",
    "events {}\nhttp {\nserver {\nlocation / { }\nlocation / { }\n}\nfoo;\n}",
  ],
  [
    "a duplicate location before what follows http",
    "events {}\nhttp {\nserver {\nlocation / { }\nlocation / { }\n}\n}\nfoo;",
  ],
  [
    "a host of proxy_pass before what follows http",
    "events {}\nhttp {\nserver {\nlocation / { proxy_pass http://no.invalid; }\n}\n}\nfoo;",
  ],
  [
    "a host of proxy_pass before a duplicate location",
    "events {}\nhttp {\nserver {\nlocation /a { }\nlocation /a { }\nlocation / { proxy_pass http://no.invalid; }\n}\n}",
  ],
  ["an unknown directive before the end of the file", "events {}\nhttp {\nfoo;\nserver {"],
  ["listen before the end of the file", "events {}\nhttp {\nserver {\nlisten 80 foo;\nbar"],
  ["the end of the file before a duplicate location", "events {}\nhttp {\nserver {\nlocation / { }\nlocation / { }\n"],
  ["a missing include before an unknown directive", "events {}\ninclude no-such-file;\nfoo;"],
  ["an unknown directive before a missing include", "events {}\nfoo;\ninclude no-such-file;"],
  [
    "a host of proxy_pass after an error of the grammar",
    "events {}\nhttp {\nserver {\nlocation / { proxy_pass http://no.invalid; }\nreturn }",
  ],
  ["two on one line, of which one is found late", "events {}\nhttp {\nserver { listen a:b:c; foo; }\n}"],
  ["a block's condition before what is in it, on one line", "events {}\nhttp {\nserver { if (= x) { foo; } }\n}"],
  ["no events", "http {\n}"],
  ["no events, and an unknown directive", "foo;\nhttp {\n}"],
];

describe("the first sentence is nginx's", { skip: have("nginx") }, () => {
  for (const [name, text] of FIRST) {
    test(name, async () => {
      const path = write(directory, "reference.conf", text);
      const args = ["-t", "-q", "-e", "/dev/null", "-p", directory, "-c", path, "-g", `pid ${directory}/nginx.pid;`];
      const { stderr } = spawnSync(NGINX ?? "nginx", args, { encoding: "latin1", timeout: 20_000 });
      const line = stderr.split("\n").find((line) => line.includes("[emerg]")) ?? "";
      const expected = line
        .replace(/^nginx: \[emerg\] /, "")
        .replace(` in ${path}`, "")
        .replaceAll(directory, "");
      const comparable = (sentence: string) =>
        sentence
          .replace(/^(pcre2?_compile\(\) failed: ).*?( in ")/, "$1…$2")
          .replace("pcre_", "pcre2_")
          .replace('open() "/', 'open() "');
      assert.equal(comparable((await errors(text))[0]), comparable(expected));
    });
  }
});

test("everything that is wrong is said, in the order nginx would find it", async () => {
  const text = `events {}
http {
  geoip_country x;
  log_format main "$geoip_city $nothing $oidc_id_token";
  include no-such-file;
  server { listen 80 foo; server_name a; ssl on; location ~ "(" { } location / { return 1000; set $uri a; } }
  map $uri $x { a b; a c; d e f; }
}
mail { auth_http localhost; }
nonsense;
`;
  assert.deepEqual(
    (await errors(text)).map((line) => line.replace(/failed: .* in/, "failed: … in")),
    [
      '"geoip_country" directive is known to nginx but not available in Holdfast yet:3',
      'open() "no-such-file" failed (2: No such file or directory):5',
      'invalid parameter "foo":6',
      'unknown directive "ssl", use the "listen ... ssl" directive instead:6',
      'pcre2_compile() failed: … in "(":6',
      'invalid return code "1000":6',
      'the duplicate "uri" variable:6',
      'conflicting parameter "a":7',
      "invalid number of the map parameters:7",
      '"geoip_city" variable is known to nginx but not available in Holdfast yet:4',
      'unknown "nothing" variable:4',
      '"oidc_id_token" variable is known to nginx but not available in Holdfast yet:4',
      '"mail" directive is not available in Holdfast: it has no mail proxy:9',
      'unknown directive "nonsense":10',
    ],
  );
});

test("what is wrong only because something was refused is not said", async () => {
  const text = `events {}
http {
  auth_jwt_claim_set $country iss;
  geoip2 /a.mmdb { $city_name city names en; }
  upstream a { server 127.0.0.1:1 upward; }
  upstream b { }
  upstream c d { server 127.0.0.1:1; }
  server {
    auth_jwt_claim_set $user sub;
    rewrite "(?<year>[0-9]+)" /$year onward;
    location /a { proxy_pass http://a; return 200 "$country $city_name $user $year"; }
    location /b { proxy_pass http://b; }
    location /c { proxy_pass http://c; }
  }
}
`;
  assert.deepEqual(await errors(text), [
    '"auth_jwt_claim_set" directive is known to nginx but not available in Holdfast yet:3',
    'unknown directive "geoip2":4',
    'invalid parameter "upward":5',
    "no servers are inside upstream:6",
    'invalid number of arguments in "upstream" directive:7',
    '"auth_jwt_claim_set" directive is known to nginx but not available in Holdfast yet:9',
    'invalid parameter "onward":10',
  ]);
});

test("a line that is included often is wrong once; a block that is unknown is not looked into", async () => {
  write(directory, "snippet", "pagespeed on;\n");
  const text = `events {}
http {
  server { include snippet; location / { include snippet; } }
  vhost_traffic { nothing; here { counts; } }
}`;
  assert.deepEqual(await errors(text), [
    'unknown directive "pagespeed" in snippet:1',
    'unknown directive "vhost_traffic":4',
  ]);
});

test("a block whose own line is refused is looked into all the same", async () => {
  assert.deepEqual(await errors("events {}\nhttp {\nserver {\nif (-z x) {\nnonsense;\n}\n}\n}"), [
    'invalid condition "-z":4',
    'unknown directive "nonsense":5',
  ]);
});

test("a variable of a module that is not there is known, in every kind of place, with file and line", async () => {
  const places = [
    "log_format a $NAME;",
    "map $NAME $x { }",
    "server { location / { return 200 $NAME; } }",
    "server { set $x $NAME; }",
    "server { if ($NAME) { } }",
    "server { location / { proxy_set_header A $NAME; proxy_pass http://127.0.0.1; } }",
    "server { charset $NAME; }",
    "server { rewrite a /$NAME; }",
  ];
  const names = ["oidc_id_token", "geoip_city", "http3", "jwt_claim_sub"];
  for (const place of places) {
    for (const name of names) {
      const expected = `"${name}" variable is known to nginx but not available in Holdfast yet:2`;
      assert.deepEqual(await errors(`events {} http {\n${place.replace("NAME", name)} }`), [expected], place);
    }
    const unknown = place.replace("NAME", "no_such_thing");
    assert.deepEqual(await errors(`events {} http {\n${unknown} }`), ['unknown "no_such_thing" variable:2'], place);
  }
});

test("a warning that building gives rise to is said too", async () => {
  const server = "server { listen 127.0.0.1:1; server_name a; }";
  const { warnings } = await says(`events {} http {\n${server}\n${server}\n}`);
  assert.deepEqual(warnings, ['conflicting server name "a" on 127.0.0.1:1, ignored:2']);
});

test("load_module says what it is about", async () => {
  for (const name of ["upstream_check", "brotli_filter", "brotli_static", "zstd_filter"]) {
    const module = `ngx_http_${name}_module`;
    const { warnings } = await says(`load_module modules/${module}.so;\nevents {}`);
    assert.deepEqual(warnings, [`"load_module" is ignored, "${module}" is part of Holdfast:1`]);
  }
  for (const [path, name] of [
    ["modules/ngx_http_geoip_module.so", "ngx_http_geoip_module"],
    ["/usr/lib/nginx/ndk_http_module.so", "ndk_http_module"],
    ["something", "something"],
  ]) {
    const sentence = `modules written for nginx cannot be loaded, and what "${name}" does is not available in Holdfast:1`;
    assert.deepEqual(await errors(`load_module ${path};\nevents {}`), [sentence]);
  }
});

test("a name that several directives ask for in vain is no consequence of one another", async () => {
  const text = `events {}
http {
access_log logs/a missing;
bogus;
server { listen 127.0.0.1:1;
access_log logs/b missing; } }`;
  assert.deepEqual(await errors(text), [
    'unknown log format "missing":3',
    'unknown directive "bogus":4',
    'unknown log format "missing":6',
  ]);
});
