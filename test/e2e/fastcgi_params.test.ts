import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { answer, fastcgiBackend } from "../support/fastcgi.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { get, RawConnection, request } from "../support/tcp.ts";

/** What a FastCGI application is told of a request. */

interface Told {
  readonly params: Readonly<Record<string, string>>;
  readonly body: string;
}

/** An application that answers with what it was told. */
function echo(t: TestContext) {
  return fastcgiBackend(t, ({ params, body }, connection) => {
    connection.write(
      answer("Content-Type: application/json", JSON.stringify({ params: Object.fromEntries(params), body })),
    );
    connection.end();
  });
}

async function start(t: TestContext, options: string, server = ""): Promise<Running> {
  const { address } = await echo(t);
  return startHoldfast(t, {
    config: ([port]) => `http { large_client_header_buffers 4 64k;
      server { listen 127.0.0.1:${port}; ${server} location / { fastcgi_pass ${address}; ${options} } } }`,
  });
}

async function told(response: Promise<{ readonly body: string }>): Promise<Told> {
  return JSON.parse((await response).body);
}

test("fields of the client, repeated ones joined", async (t) => {
  const { port } = await start(t, "");
  const { params } = await told(
    get(port, "/", "X-One: a", "Cookie: a=1", "x-one: b", "Accept: */*", "Cookie: b=2", "Accept: text/html", "X-Two:"),
  );
  assert.deepEqual(params, {
    HTTP_CONNECTION: "close",
    HTTP_HOST: "localhost",
    HTTP_X_ONE: "a, b",
    HTTP_COOKIE: "a=1; b=2",
    HTTP_ACCEPT: "*/*, text/html",
    HTTP_X_TWO: "",
  });
});

test("parameters replace the client's fields; the host is that of the request", async (t) => {
  const { port } = await start(
    t,
    `fastcgi_param HTTP_PROXY ""; fastcgi_param HTTP_X_ONE ours; fastcgi_param HTTP_ACCEPT $uri;
     fastcgi_param EMPTY $arg_none; fastcgi_param NOT_EMPTY $arg_none if_not_empty; fastcgi_param LONG ${"x".repeat(300)};`,
  );
  const { params } = await told(
    request(
      port,
      "GET http://Example.com:81/a HTTP/1.1\r\nHost: other\r\nProxy: evil\r\nX-One: theirs\r\nAccept: x\r\nAccept: y\r\nConnection: close\r\n\r\n",
    ),
  );
  assert.deepEqual(params, {
    HTTP_X_ONE: "ours",
    HTTP_ACCEPT: "/a",
    EMPTY: "",
    LONG: "x".repeat(300),
    HTTP_HOST: "example.com:81",
    HTTP_CONNECTION: "close",
  });
});

test("what lasts as long as a connection is that of the request's own connection, server and client", async (t) => {
  const { address } = await echo(t);
  const lasting = `fastcgi_param A a; fastcgi_param ADDR $remote_addr; fastcgi_param PORT $remote_port; fastcgi_param SERVER $server_name;
    fastcgi_param TLS $https if_not_empty; fastcgi_param SCHEME $scheme; fastcgi_param B b; fastcgi_param URI $uri; fastcgi_param LISTEN $server_port;`;
  const { port } = await startHoldfast(t, {
    config: ([port]) => `http { fastcgi_pass_request_headers off; set_real_ip_from 127.0.0.1;
      server { listen 127.0.0.1:${port}; server_name one; location / { fastcgi_pass ${address}; ${lasting} } }
      server { listen 127.0.0.1:${port}; server_name two; location / { fastcgi_pass ${address}; ${lasting} } } }`,
  });
  const clients = [await RawConnection.open(port), await RawConnection.open(port)];
  t.after(() => {
    for (const client of clients) client.close();
  });
  for (const [path, host, client] of [
    ["/1", "one", ""],
    ["/2", "one", "203.0.113.1"],
    ["/3", "two", ""],
    ["/4", "one", "203.0.113.2"],
    ["/5", "one", ""],
  ]) {
    for (const connection of clients) {
      const field = client === "" ? "" : `X-Real-IP: ${client}\r\n`;
      connection.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${field}\r\n`);
      const { params } = await told(connection.readResponse());
      const expected = {
        A: "a",
        ADDR: client === "" ? "127.0.0.1" : client,
        PORT: client === "" ? `${connection.socket.localPort}` : "",
        SERVER: host,
        SCHEME: "http",
        B: "b",
        URI: path,
        LISTEN: `${port}`,
        HTTP_HOST: host,
      };
      assert.deepEqual(params, expected);
    }
  }
});

test("no fields and no body where they are not to be passed on", async (t) => {
  const { port } = await start(
    t,
    "fastcgi_pass_request_headers off; fastcgi_pass_request_body off; fastcgi_param A $request_method;",
  );
  const post = "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody";
  assert.deepEqual(await told(request(port, post)), { params: { A: "POST", HTTP_HOST: "a" }, body: "" });
});

test("parameters of more than one record", async (t) => {
  const { port } = await start(t, "fastcgi_param URI $request_uri;");
  const long = (letter: string) => letter.repeat(60_000);
  const { params } = await told(get(port, `/${long("u")}`, `X-A: ${long("a")}`, `X-B: ${long("b")}`));
  assert.deepEqual([params.URI, params.HTTP_X_A, params.HTTP_X_B], [`/${long("u")}`, long("a"), long("b")]);
});

test("chunked bodies: read first with their length, or passed on as they come without", async (t) => {
  const body = "x".repeat(100_000);
  const chunked = (path: string) =>
    `POST ${path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n3\r\nend\r\n0\r\n\r\n`;
  for (const [buffering, length] of [
    ["on", "100003"],
    ["off", ""],
  ]) {
    const { port } = await start(
      t,
      `fastcgi_request_buffering ${buffering}; fastcgi_param CONTENT_LENGTH $content_length;`,
    );
    const got = await told(request(port, chunked("/")));
    assert.equal(got.params.CONTENT_LENGTH, length);
    assert.equal(got.body, `${body}end`);
  }
});

test("the script's name and what follows it, wherever the URI comes from: as in nginx", {
  skip: have("nginx"),
}, async (t) => {
  const { address } = await echo(t);
  const php = `fastcgi_pass ${address}; fastcgi_index index.php; fastcgi_split_path_info ^(.+?\\.php)(/.*)$;
    fastcgi_param SCRIPT_NAME $fastcgi_script_name; fastcgi_param PATH_INFO $fastcgi_path_info; fastcgi_param URI $uri;`;
  const config = ([port]: readonly number[]) => `http { server { listen 127.0.0.1:${port}; root html;
    location ~ \\.php(/|$) { ${php} }
    location /plain { fastcgi_pass ${address}; fastcgi_param SCRIPT_NAME $fastcgi_script_name; fastcgi_param PATH_INFO $fastcgi_path_info; }
    location /dir/ { ${php} }
    location /pretty { try_files $uri $uri/ /index.php$uri?$args; }
    location /named { try_files $uri @php; }
    location @php { ${php} }
    location /last { rewrite ^/last(.*)$ /index.php$1 last; }
    location /break { rewrite ^/break(.*)$ /index.php$1 break; ${php} }
    location /early { set $early "$fastcgi_script_name $fastcgi_path_info"; rewrite ^/early(.*)$ /index.php$1 last; }
    location /other { fastcgi_split_path_info ^(/other)(.*)$; set $early $fastcgi_path_info; rewrite ^ $uri last;
      location ~ /other/x\\.php { ${php} } }
    location /error { error_page 404 /error.php/tail; return 404; }
    location /error-named { error_page 404 @php; return 404; }
    location /if { if ($args) { ${php.replace(/fastcgi_(index|split|param)[^;]*;/g, "")} } ${php.replace(/fastcgi_pass[^;]*;/, "")} return 204; }
  } }`;
  const servers = [await startHoldfast(t, { config }), await startNginx(t, { config })];
  for (const path of [
    "/index.php",
    "/index.php/a/b",
    "/a.php/b.php/c",
    "/index.php/",
    "/x.phpx",
    "/plain/a.php/b",
    "/plain/",
    "/dir/",
    "/dir/a/",
    "/dir/a.php/",
    "/pretty/a/b?c=d",
    "/named/a.php/b",
    "/named/a",
    "/last/a/b",
    "/break/a/b",
    "/early/a.php/b",
    "/other/x.php/y",
    "/error",
    "/error-named/a.php/b",
    "/if?a",
  ]) {
    const [ours, theirs] = await Promise.all(
      servers.map(async ({ port }) => {
        const { status, body } = await get(port, path);
        return status === 200 ? JSON.parse(body) : status;
      }),
    );
    assert.deepEqual(ours, theirs, path);
  }
});
