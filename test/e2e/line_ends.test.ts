import assert from "node:assert/strict";
import { test } from "node:test";
import { type Backend, cannedBackend, tcpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection } from "../support/tcp.ts";

/** Every directive that takes variables and ends up in a head: none of them can end a line, whatever the variable holds. */

/** Where a value comes from that a client chose; all but `$arg_x` are decoded. */
const SOURCES = ["$uri", "$1", "$named", "$arg_x", "$mapped"] as const;

/** By a name, what stands in the location. V is the value, B the backend's address. */
const DIRECTIVES: Readonly<Record<string, string>> = {
  add_header: 'add_header X "a V b" always; return 404;',
  "add_header alone": "add_header X V; return 200 ok;",
  "add_header Last-Modified": "add_header Last-Modified V; return 200 ok;",
  "add_header ETag": "add_header ETag V; return 200 ok;",
  "add_header Location": "add_header Location V; return 200 ok;",
  add_trailer: "add_trailer X V always; proxy_pass http://B;",
  auth_basic: 'auth_basic "zone V"; auth_basic_user_file users;',
  auth_basic_user_file: 'auth_basic zone; auth_basic_user_file "V";',
  charset: 'set $v "V"; charset $v; return 200 ok;',
  source_charset: 'set $v "V"; source_charset $v; charset $v; return 200 ok;',
  expires: 'set $v "V"; expires $v; return 200 ok;',
  "return text": "return 200 V;",
  "return error text": "return 404 V;",
  "return path": "return 302 V;",
  "return URL": "return 301 http://other.example/V;",
  "return scheme": "return $scheme://other.example/V;",
  "return 308 relative": "absolute_redirect off; return 308 V;",
  "rewrite redirect": "rewrite ^ /V redirect;",
  "rewrite permanent": "rewrite ^ http://other.example/V? permanent;",
  "rewrite regex redirect": "rewrite ^([^?]*)$ http://other.example$1 redirect;",
  "rewrite last": "rewrite ^ /last/V last;",
  "rewrite break, proxied": "rewrite ^ /V break; proxy_pass http://B;",
  "rewrite with arguments, proxied": "rewrite ^ /x?V break; proxy_pass http://B;",
  "error_page redirect": "error_page 404 =302 http://other.example/V; return 404;",
  "error_page other": "error_page 404 V; return 404;",
  "error_page path": "error_page 404 /last/V; return 404;",
  "proxy_pass path": "proxy_pass http://B/V;",
  "proxy_pass variable": "proxy_pass http://B$uri;",
  "proxy_pass arguments": "proxy_pass http://B/x?y=V;",
  "proxy_pass host": "proxy_pass http://V;",
  "proxy_pass host and port": "proxy_pass http://B:V/;",
  "proxy_pass upstream": 'set $v "V"; proxy_pass http://$v/x;',
  "proxy_pass without URI": "proxy_pass http://B;",
  proxy_method: "proxy_method V; proxy_pass http://B;",
  proxy_set_body: "proxy_set_body V; proxy_pass http://B;",
  proxy_set_header: 'proxy_set_header X "a V b"; proxy_pass http://B;',
  "proxy_set_header alone": "proxy_set_header X V; proxy_pass http://B;",
  "proxy_set_header Host": "proxy_set_header Host V; proxy_pass http://B;",
  "proxy_set_header Connection": "proxy_set_header Connection V; proxy_pass http://B;",
  proxy_bind: "proxy_bind V; proxy_pass http://B;",
  proxy_limit_rate: "proxy_limit_rate V; proxy_pass http://B;",
  proxy_cookie_path: "proxy_cookie_path / /V/; proxy_pass http://B;",
  "proxy_cookie_path regex": "proxy_cookie_path ~^/(.*)$ V$1; proxy_pass http://B;",
  proxy_cookie_domain: "proxy_cookie_domain b.example V; proxy_pass http://B;",
  "proxy_cookie_domain regex": "proxy_cookie_domain ~b V; proxy_pass http://B;",
  proxy_cookie_flags: "proxy_cookie_flags a V; proxy_pass http://B;",
  proxy_redirect: "proxy_redirect http://b.example/ http://c.example/V/; proxy_pass http://B;",
  "proxy_redirect to a path": "proxy_redirect http://b.example/ V; proxy_pass http://B;",
  "proxy_redirect regex": "proxy_redirect ~^(.*)$ V; proxy_pass http://B;",
  limit_rate: "limit_rate V; return 200 ok;",
  root: "root html/V;",
  try_files: "try_files /V /last/V;",
  index: "index V;",
  set: 'set $v "V"; set $w "a$v"; add_header X $w always; return 200 ok;',
  "if in location": "if ($request_method = GET) { add_header X V always; return 200 ok; }",
  access_log: "access_log logs/V.log; return 200 ok;",
  "add_header over several lines": 'add_header X "one;\r\n  V;\n  two" always; return 404;',
  "add_header over several lines, constant": 'add_header X "one;\n  two" always; return 404;',
  "proxy_set_header over several lines": 'proxy_set_header X "one;\n  two"; proxy_pass http://B;',
  "default_type over several lines": 'default_type "text/x;\n  y=z"; return 200 ok;',
};

const ATTACK = "q%0d%0aEvil:%20yes%0a%0d%0a%0dGET%20/second%20HTTP/1.1%0d%0aEvil:%20also%0d%0a%0d%0a";

interface Case {
  readonly name: string;
  readonly path: string;
  readonly location: string;
}

function cases(backend: Backend): Case[] {
  return Object.entries(DIRECTIVES).flatMap(([name, text], i) =>
    SOURCES.map((source, j) => {
      const path = `/case${i}.${j}/`;
      const line = text.replaceAll("V", source).replaceAll("B", backend.address);
      return { name: `${name} with ${source}`, path, location: `location ~ ^${path}(?<named>[^?]*)$ { ${line} }` };
    }),
  );
}

const ANSWER = [
  "HTTP/1.1 302 Found",
  "Transfer-Encoding: chunked",
  "Location: http://b.example/there",
  "Refresh: 5; url=http://b.example/there",
  "Set-Cookie: a=b; Path=/x; Domain=b.example",
  "",
  "2\r\nok\r\n0\r\n\r\n",
].join("\r\n");

/** What is wrong with the lines of a head; "" where nothing is. */
function faults(text: string): string {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return "no end of the head";
  const [, ...lines] = text.slice(0, end).split("\r\n");
  for (const line of lines) {
    if (/[\r\n\0]/.test(line)) return `a line end in ${JSON.stringify(line)}`;
    if (!/^[A-Za-z][A-Za-z-]*: /.test(line) || /^Evil/i.test(line)) return `the line ${JSON.stringify(line)}`;
  }
  return "";
}

/** What is wrong with an answer: its head, its trailers, or what follows it. */
function answerFaults(text: string): string {
  if (!/^HTTP\/1\.1 [2-5]\d\d [^\r\n\0]*\r\n/.test(text)) return `no status line in ${JSON.stringify(text)}`;
  const body = text.slice(text.indexOf("\r\n\r\n") + 4);
  if (/^Transfer-Encoding: chunked\r$/m.test(text) && !/\r\n0\r\n(X: [^\r\n\0]*\r\n)?\r\n$/.test(body))
    return `the end of ${JSON.stringify(body)}`;
  const length = /^Content-Length: (\d+)\r$/m.exec(text)?.[1];
  if (length !== undefined && body.length !== Number(length)) return `${body.length} bytes of body, not ${length}`;
  return faults(text);
}

test("no variable ends a line of a head, on either side", async (t) => {
  const received: string[] = [];
  const backend = await tcpBackend(t, async (connection) => {
    // A second request that hides in the first one's head is read, and counted, like any other.
    for (let head = await connection.readHeader(); head !== undefined; head = await connection.readHeader()) {
      const length = Number(/^Content-Length: (\d+)\r$/m.exec(head)?.[1] ?? 0);
      received.push(head);
      if (length > 0) await connection.read((all) => all.length >= length);
      connection.write(ANSWER);
    }
  });
  const list = cases(backend);
  const { port } = await startHoldfast(t, {
    files: { users: "", "html/index.html": "x" },
    config: ([port]) => `http {
      access_log logs/access.log;
      keepalive_timeout 0;
      map $uri $mapped { ~^/[^/]*/(?<rest>[\\s\\S]*)$ $rest; }
      server { listen 127.0.0.1:${port};
        location /last/ { return 200 last; }
        ${list.map(({ location }) => location).join("\n        ")}
      } }`,
  });
  const wrong: string[] = [];
  for (const { name, path } of list) {
    received.length = 0;
    const connection = await RawConnection.open(port);
    connection.write(`GET ${path}${ATTACK}?x=${ATTACK} HTTP/1.1\r\nHost: a.example\r\n\r\n`);
    const answer = await connection.readAll();
    connection.close();
    const found = answerFaults(answer);
    if (found !== "") wrong.push(`${name}, to the client: ${found}`);
    for (const request of received) {
      const line = request.slice(0, request.indexOf("\r\n"));
      if (!/^[^ \r\n\0]+ [^ \r\n\0]+ HTTP\/1\.1$/.test(line)) wrong.push(`${name}, to the backend: ${line}`);
      const fault = faults(request);
      if (fault !== "") wrong.push(`${name}, to the backend: ${fault}`);
    }
    if (received.length > 1) wrong.push(`${name}: ${received.length} requests`);
  }
  assert.deepEqual(wrong, []);
});

test("a NUL in a server's status line does not get into ours", async (t) => {
  const backend = await cannedBackend(t, "HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok");
  const { port } = await startHoldfast(t, {
    config: ([port]) => `http { access_log off;
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://${backend.address}; } } }`,
  });
  assert.equal((await get(port, "/")).statusLine, "HTTP/1.1 200 O K");
});
