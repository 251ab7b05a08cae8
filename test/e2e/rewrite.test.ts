import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { get, RawConnection, request } from "../support/tcp.ts";
import { config, FILES, REQUESTS } from "./rewrite/config.ts";

const rewriting = { config: (ports: readonly number[]) => config(ports[0]), files: FILES };

/** What a server answers, without what names it: its port, directory, own name and counters. */
async function answer(server: Running, text: string): Promise<string> {
  const [, method = "GET", target, field = "Host: localhost"] = /^(?:([A-Z]+) )?(\S+)(?: (.*))?$/.exec(text) ?? [];
  const host = field.startsWith("Host:") ? "" : "Host: localhost\r\n";
  const { status, header, body } = await request(
    server.port,
    `${method} ${target} HTTP/1.1\r\n${host}${field}\r\nConnection: close\r\n\r\n`,
  );
  return `${status} ${header("content-type")} [${header("location") ?? ""}] ${body}`
    .replace(/<center>(nginx|holdfast)[^<]*<\/center>/, "<server>")
    .replace(/(\n ?[\d ]+)+|: \d+/g, " N")
    .replaceAll(String(server.port), "PORT")
    .replaceAll(server.prefix, "PREFIX");
}

test("requests are rewritten, mapped and tried as by nginx", { skip: have("nginx") }, async (t) => {
  const nginx = await startNginx(t, rewriting);
  const holdfast = await startHoldfast(t, rewriting);
  for (const text of REQUESTS) {
    assert.equal(await answer(holdfast, text), await answer(nginx, text), text);
  }
});

test("the handler that an if block has set stays in a later block without one: as in nginx", {
  skip: have("nginx"),
}, async (t) => {
  const config = ([port, backend]: readonly number[]) => {
    const proxy = `proxy_pass http://127.0.0.1:${backend};`;
    const other = (protocol: string) => `${protocol}_pass 127.0.0.1:${backend};`;
    return `http {
      server { listen 127.0.0.1:${backend}; return 200 "passed $uri"; }
      server { listen 127.0.0.1:${port}; default_type text/plain; set $yes 1; set $memcached_key k;
        location /proxy { if ($yes) { ${proxy} } if ($arg_a) { add_header X y; } }
        location /variables { if ($yes) { proxy_pass http://$host:${backend}; } if ($yes) { } }
        location /fastcgi { if ($yes) { ${other("fastcgi")} } if ($yes) { } }
        location /uwsgi { if ($yes) { ${other("uwsgi")} } if ($yes) { } }
        location /scgi { if ($yes) { ${other("scgi")} } if ($yes) { } }
        location /memcached { if ($yes) { ${other("memcached")} } if ($yes) { } }
        location /around { ${proxy} if ($arg_a) { ${other("fastcgi")} } if ($yes) { add_header X y; } if ($arg_b) { } }
        location /same { ${proxy} if ($yes) { proxy_pass http://127.0.0.1:1; } if ($yes) { add_header X y; } }
        location /last { if ($yes) { ${other("scgi")} } if ($yes) { } if ($yes) { ${proxy} } }
        location /third { ${other("uwsgi")} if ($yes) { ${proxy} } if ($arg_a) { } if ($yes) { } }
        location /gif { empty_gif; if ($yes) { ${proxy} } if ($arg_a) { } }
        location /returns { if ($yes) { ${proxy} } if ($yes) { return 204; } }
        location /page { if ($yes) { ${proxy} } if ($yes) { error_page 500 =200 /echo; } }
        location /echo { return 200 "page $uri"; }
      }
    }`;
  };
  const servers = [await startHoldfast(t, { config }), await startNginx(t, { config })];
  const paths = ["proxy", "variables", "fastcgi", "uwsgi", "scgi", "memcached", "around", "same", "last"];
  for (const path of [...paths, "third", "gif", "returns", "page"]) {
    for (const args of ["", "?a=1", "?b=1", "?a=1&b=1"]) {
      const [ours, nginxs] = await Promise.all(servers.map((server) => answer(server, `/${path}${args}`)));
      assert.equal(ours, nginxs, `/${path}${args}`);
    }
  }
  await servers[0].waitForLog(/\[alert\] .*no upstream configuration, client: .*"GET \/proxy\?a=1 /);
});

describe("rewriting", () => {
  test("what rewrite_log shows is what happened", async (t) => {
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `http {
        rewrite_log on;
        server {
          listen 127.0.0.1:${port};
          location /from/ { rewrite ^/never$ /x; rewrite ^/from/(.*)$ /to/$1?a=b last; }
          location /to/ { if ($arg_a ~ ^b) { rewrite ^/to/ /away/ redirect; } }
        } }`,
    });
    assert.equal(
      (await get(holdfast.port, "/from/here?c=d")).header("location"),
      `http://localhost:${holdfast.port}/away/?a=b&c=d`,
    );
    await holdfast.waitForLog(/rewritten redirect/);
    const lines = holdfast.errorLog().match(/(?<=\[notice\] [^"]*)"\^.*?"(?=, client)|rewritten .*?(?=, client)/g);
    assert.deepEqual(lines, [
      '"^/never$" does not match "/from/here"',
      '"^/from/(.*)$" matches "/from/here"',
      'rewritten data: "/to/here", args: "a=b&c=d"',
      '"^b" matches "b"',
      '"^/to/" matches "/to/here"',
      'rewritten redirect: "/away/?a=b&c=d"',
    ]);
  });

  test("a variable without a value is warned of where the location asks for it", async (t) => {
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `http { server {
        listen 127.0.0.1:${port};
        location /warn { if ($arg_x) { set $unset x; } return 200 "[$unset]"; }
        location /quiet { uninitialized_variable_warn off; return 200 "[$unset]"; }
      } }`,
    });
    assert.equal((await get(holdfast.port, "/quiet")).body, "[]");
    assert.equal((await get(holdfast.port, "/warn")).body, "[]");
    const warnings = await holdfast.waitForLog(/\[warn\] .*using uninitialized "unset" variable.*"GET (\S+)/);
    assert.equal(warnings[1], "/warn");
  });

  test("what cannot be rewritten ends with 500 and a reason", async (t) => {
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `http {
        map $a $b { default $a; }
        map $b $a { default $b; }
        server {
          listen 127.0.0.1:${port};
          location /cycle { rewrite ^ /cycle/; }
          location /empty { rewrite ^ $arg_none last; }
          location /alias/ { alias /x/; rewrite ^ /elsewhere break; try_files $uri =404; }
          location /nowhere { error_page 404 @missing; return 404; }
          location /loop { return 200 "[$a]"; }
        } }`,
    });
    const reasons: readonly (readonly [path: string, reason: string])[] = [
      ["/cycle", 'rewrite or internal redirection cycle while processing "/cycle/"'],
      ["/empty", "the rewritten URI has a zero length"],
      ["/alias/x", '"alias" cannot be used in location "/alias/" where URI was rewritten'],
      ["/nowhere", 'could not find named location "@missing"'],
    ];
    for (const [path, reason] of reasons) {
      assert.equal((await get(holdfast.port, path)).status, 500, path);
      await holdfast.waitForLog(new RegExp(`${RegExp.escape(reason)}, client: 127`));
    }
    assert.equal((await get(holdfast.port, "/loop")).body, "[]");
    await holdfast.waitForLog(/\[error\] .*cycle while evaluating variable "[ab]"/);
  });

  test("a map whose regex takes too many steps has its default", async (t) => {
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `http {
        map $arg_a $x { default none; "~^((a+)+)\\1b" hit; ~a any; }
        server { listen 127.0.0.1:${port}; return 200 $x; }
      }`,
    });
    assert.equal((await get(holdfast.port, `/?a=${"a".repeat(60)}cb`)).body, "none");
    await holdfast.waitForLog(/\[alert\] .*pcre2_match\(\) failed: -47 on "a+cb" using/);
  });

  test("return 444 closes without an answer", async (t) => {
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `http { server { listen 127.0.0.1:${port}; return 444; } }`,
    });
    await assert.rejects(get(holdfast.port, "/"));
    assert.equal(holdfast.errorLog().includes("[error]"), false);
  });

  test("a request body that nobody reads does not end the connection", async (t) => {
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `http { server { listen 127.0.0.1:${port}; return 200 "$request_method $uri"; } }`,
    });
    const connection = await RawConnection.open(holdfast.port);
    t.after(() => connection.close());
    connection.write(
      "POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcdeGET /two HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    assert.equal((await connection.readResponse()).body, "POST /one");
    assert.equal((await connection.readResponse()).body, "GET /two");
  });
});
