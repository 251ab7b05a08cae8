import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { have } from "../support/have.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { get, request } from "../support/tcp.ts";
import { startUwsgi } from "../support/uwsgi.ts";

/** The parameters that every WSGI application needs. */
const PARAMS = `uwsgi_param QUERY_STRING $query_string; uwsgi_param REQUEST_METHOD $request_method;
  uwsgi_param CONTENT_TYPE $content_type; uwsgi_param CONTENT_LENGTH $content_length;
  uwsgi_param REQUEST_URI $request_uri; uwsgi_param PATH_INFO $document_uri;
  uwsgi_param SERVER_PROTOCOL $server_protocol; uwsgi_param SERVER_PORT $server_port;
  uwsgi_param SERVER_NAME $server_name;`;

const ECHO = `
def application(env, start):
    names = ['REQUEST_METHOD', 'PATH_INFO', 'QUERY_STRING', 'CONTENT_LENGTH', 'HTTP_X_FOO']
    said = ''.join('%s=%s\\n' % (name, env.get(name, '')) for name in names).encode()
    body = env['wsgi.input'].read()
    start('200 Very OK', [('Content-Type', 'text/plain'), ('X-Length', str(len(body)))])
    return [said, b'body=', body]
`;

/** `options`: more directives of the location. */
function site(t: TestContext, address: string, options = "") {
  return startHoldfast(t, {
    config: ([port]) =>
      `http { server { listen 127.0.0.1:${port}; location / { uwsgi_pass ${address}; ${PARAMS} ${options} } } }`,
  });
}

test("uwsgi_pass: a WSGI application, with bodies of known and unknown length", { skip: have("uwsgi") }, async (t) => {
  const { address } = await startUwsgi(t, ECHO);
  const { port } = await site(t, address);
  const got = await get(port, "/a%20b?c=d", "X-Foo: bar");
  assert.equal(got.statusLine, "HTTP/1.1 200 Very OK");
  assert.equal(
    got.body,
    "REQUEST_METHOD=GET\nPATH_INFO=/a b\nQUERY_STRING=c=d\nCONTENT_LENGTH=\nHTTP_X_FOO=bar\nbody=",
  );
  const body = "x".repeat(200_000);
  const posted = await request(
    port,
    `POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  assert.ok(posted.body.endsWith(`body=${body}`));
  const chunked = await request(
    port,
    "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
  );
  assert.match(chunked.body, /CONTENT_LENGTH=5\n.*body=abcde$/s);
});

test("scgi_pass: a WSGI application over SCGI, with bodies of known and unknown length", {
  skip: have("uwsgi"),
}, async (t) => {
  const { address } = await startUwsgi(t, ECHO, { protocol: "scgi" });
  const { port } = await startHoldfast(t, {
    config: ([port]) =>
      `http { server { listen 127.0.0.1:${port};
        location / { scgi_pass ${address}; ${PARAMS.replaceAll("uwsgi_", "scgi_")} } } }`,
  });
  const posted = await request(
    port,
    "POST /a?b HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
  );
  assert.equal(posted.statusLine, "HTTP/1.1 200 Very OK");
  assert.match(posted.body, /^REQUEST_METHOD=POST\nPATH_INFO=\/a\nQUERY_STRING=b\nCONTENT_LENGTH=3\n.*body=abc$/s);
  const chunked = await request(
    port,
    "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
  );
  assert.match(chunked.body, /CONTENT_LENGTH=3\n.*body=abc$/s);
});
