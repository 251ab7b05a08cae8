import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createCertificate } from "../support/certificates.ts";
import { have } from "../support/have.ts";
import { makePrefix, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { get, request } from "../support/tcp.ts";
import { startUwsgi } from "../support/uwsgi.ts";
import { waitFor } from "../support/wait.ts";

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

test("suwsgi://: TLS to a uwsgi server, whose certificate is verified", { skip: have("uwsgi") }, async (t) => {
  const { certificateFile, keyFile } = createCertificate(makePrefix(t), "app.example", {
    extensions: ["subjectAltName=DNS:app.example"],
  });
  const port = await freePort();
  await startUwsgi(t, ECHO, { options: ["--suwsgi-socket", `127.0.0.1:${port},${certificateFile},${keyFile}`] });
  const holdfast = await startHoldfast(t, {
    config: ([first]) => `http { uwsgi_ssl_trusted_certificate ${certificateFile}; uwsgi_ssl_verify on; ${PARAMS}
      server { listen 127.0.0.1:${first};
        location / { uwsgi_ssl_name app.example; uwsgi_pass suwsgi://127.0.0.1:${port}; }
        location /variable { set $to suwsgi://127.0.0.1:${port}; uwsgi_ssl_name app.example; uwsgi_pass $to; }
        location /other { uwsgi_ssl_name other.example; uwsgi_pass suwsgi://127.0.0.1:${port}; } } }`,
  });
  assert.match((await get(holdfast.port, "/")).body, /^REQUEST_METHOD=GET\nPATH_INFO=\/\n/);
  assert.match((await get(holdfast.port, "/variable")).body, /^REQUEST_METHOD=GET\nPATH_INFO=\/variable\n/);
  assert.equal((await get(holdfast.port, "/other")).status, 502);
  await holdfast.waitForLog(
    /upstream SSL certificate does not match "other.example" while SSL handshaking to upstream, .* upstream: "suwsgi:\/\/127/,
  );
});

test("uwsgi_pass: a killed server's requests go to the other one, and it is used again when it is back", {
  skip: have("uwsgi"),
}, async (t) => {
  const ports = [await freePort(), await freePort()];
  const [one, two] = ports.map((port) => `127.0.0.1:${port}`);
  const start = (address: string) =>
    startUwsgi(t, `def application(env, start):\n    start('200 OK', [])\n    return [b'${address}']\n`, {
      options: ["--uwsgi-socket", address, "--no-orphans"],
    });
  const first = await start(one);
  await start(two);
  const { port } = await startHoldfast(t, {
    config: ([port]) => `http { upstream app { server ${one} fail_timeout=1s; server ${two} fail_timeout=1s; }
      server { listen 127.0.0.1:${port}; location / { uwsgi_pass app; ${PARAMS} } } }`,
  });
  /** The servers that answer, each request by one of them. */
  const answering = async (count: number) => {
    const answers = await Promise.all(Array.from({ length: count }, () => get(port, "/")));
    assert.ok(answers.every(({ status }) => status === 200));
    return new Set(answers.map(({ body }) => body));
  };
  await waitFor(async () => (await answering(4)).size === 2, "both servers");
  process.kill(first.pid, "SIGKILL");
  // Its workers notice that only within a second.
  await waitFor(async () => !(await answering(4)).has(one), "one server left");
  await start(one);
  await waitFor(async () => (await answering(4)).size === 2, "both servers again");
});

test("uwsgi_pass: large bodies both ways, buffered or not", { skip: have("uwsgi") }, async (t) => {
  const { address } = await startUwsgi(t, ECHO);
  const { port } = await startHoldfast(t, {
    config: ([
      port,
    ]) => `http { client_max_body_size 0; uwsgi_max_temp_file_size 1m; ${PARAMS} server { listen 127.0.0.1:${port};
      location / { uwsgi_pass ${address}; }
      location /unbuffered { uwsgi_pass ${address}; uwsgi_buffering off; uwsgi_request_buffering off; } } }`,
  });
  const body = "0123456789abcdef".repeat(512 * 1024);
  for (const path of ["/", "/unbuffered"]) {
    const raw = `PUT ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    const answer = await request(port, raw);
    assert.equal(answer.header("x-length"), String(body.length), path);
    assert.ok(answer.body.endsWith(body), path);
  }
});
