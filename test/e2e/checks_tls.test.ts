/** Active checks of servers behind TLS: `check type=https`, and `health_check` in a location that passes to https://. */
import assert from "node:assert/strict";
import type { RequestListener } from "node:http";
import { type TestContext, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { httpsBackend, tcpBackend } from "../support/backend.ts";
import { certificateDirectory, createCertificate, noOpenssl } from "../support/certificates.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

interface Row {
  readonly status: string;
  readonly reason?: string;
}

async function rows(holdfast: Running): Promise<readonly Row[]> {
  const page = await get(holdfast.port, "/status?format=json");
  return (JSON.parse(page.body) as { servers: { server: Row[] } }).servers.server;
}

function become(holdfast: Running, wanted: string): Promise<unknown> {
  return waitFor(async () => (await rows(holdfast)).map(({ status }) => status).join(" ") === wanted, wanted);
}

/** A CA, a server that it knows as app.intern, and one that it knows by another name. */
async function servers(t: TestContext) {
  const directory = certificateDirectory(t);
  const ca = createCertificate(directory, "ca", { extensions: ["basicConstraints=critical,CA:TRUE"] });
  const asked: string[] = [];
  const answer: RequestListener = (request, response) => {
    const { servername } = request.socket as TLSSocket;
    asked.push(`${request.method} ${request.url} ${request.headers.host} ${servername}`);
    response.end("fine");
  };
  const start = (name: string) => {
    const own = createCertificate(directory, name, { issuer: ca, extensions: [`subjectAltName=DNS:${name}`] });
    return httpsBackend(t, { cert: own.certificate, key: own.key }, answer);
  };
  return {
    asked,
    files: { "conf/ca.crt": ca.certificate },
    app: await start("app.intern"),
    other: await start("other"),
  };
}

const QUICK = "interval=100 rise=1 fall=1 timeout=2000";
const STATUS = "location = /status { check_status; }";

test("type=https: the handshake, the certificate and the answer are checked", { skip: noOpenssl }, async (t) => {
  const { asked, files, app, other } = await servers(t);
  const plain = await tcpBackend(t, (connection) => connection.write("HTTP/1.1 400 Bad Request\r\n\r\n"));
  const silent = await tcpBackend(t, () => {});
  const holdfast = await startHoldfast(t, {
    files,
    config: ([port]) => `http {
      upstream app {
        server ${app.address}; server ${other.address}; server ${plain.address}; server ${silent.address};
        check interval=100 rise=1 fall=1 timeout=1000 type=https ssl_name=app.intern ssl_verify=on ssl_trusted_certificate=ca.crt;
        check_http_send "GET /ready HTTP/1.0\\r\\nHost: app\\r\\n\\r\\n";
      }
      server { listen 127.0.0.1:${port}; ${STATUS}
        location / { proxy_pass https://app; proxy_ssl_server_name on; proxy_ssl_name app.intern; } } }`,
  });
  await become(holdfast, "up down down down");
  const reasons = await waitFor(async () => {
    const found = (await rows(holdfast)).map(({ reason = "" }) => reason);
    return found.slice(1).every((reason) => reason !== "") ? found : undefined;
  }, "reasons");
  assert.match(reasons[1], /SSL certificate does not match "app\.intern"/);
  assert.match(reasons[2], /handshake: SSL_do_handshake\(\) failed \(SSL: .*wrong version number/);
  assert.match(reasons[3], /handshake: timeout after 1000 ms/);
  assert.ok(asked.includes("GET /ready app app.intern"));
  assert.equal((await get(holdfast.port, "/")).body, "fine");
});

test("ssl_certificate is shown to a server that wants one", { skip: noOpenssl }, async (t) => {
  const directory = certificateDirectory(t);
  const ca = createCertificate(directory, "ca", { extensions: ["basicConstraints=critical,CA:TRUE"] });
  const own = createCertificate(directory, "app", { issuer: ca });
  const client = createCertificate(directory, "holdfast", { issuer: ca });
  const asked: string[] = [];
  const tls = { cert: own.certificate, key: own.key, ca: ca.certificate, requestCert: true, rejectUnauthorized: true };
  const app = await httpsBackend(t, tls, (request, response) => {
    asked.push((request.socket as TLSSocket).getPeerCertificate().subject.CN as string);
    response.end();
  });
  const holdfast = await startHoldfast(t, {
    files: { "conf/client.crt": client.certificate, "conf/client.key": client.key },
    config: ([port]) => `http {
      upstream app { server ${app.address};
        check interval=100 rise=1 fall=1 timeout=1000 type=https ssl_certificate=client.crt ssl_certificate_key=client.key; }
      upstream stranger { server ${app.address}; check interval=100 rise=1 fall=1 timeout=1000 type=https; }
      server { listen 127.0.0.1:${port}; ${STATUS} } }`,
  });
  await become(holdfast, "up down");
  await waitFor(async () => /certificate required/.test((await rows(holdfast))[1].reason ?? ""), "the reason");
  assert.deepEqual(new Set(asked), new Set(["holdfast"]));
  // The default level of the error log has what is down from the start.
  assert.match(
    holdfast.errorLog(),
    /\[error\] \S+ check peer is down: \S+ upstream: "stranger", check: https, reason: /,
  );
});

test("health_check goes by the location's proxy_ssl_ directives", { skip: noOpenssl }, async (t) => {
  const { asked, files, app, other } = await servers(t);
  const holdfast = await startHoldfast(t, {
    files,
    config: ([port]) => `http {
      upstream app { zone app 64k; server ${app.address}; server ${other.address}; }
      server { listen 127.0.0.1:${port}; ${STATUS}
        location / {
          proxy_pass https://app; proxy_ssl_server_name on; proxy_ssl_name app.intern;
          proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.crt;
          health_check interval=100ms uri=/ready;
        } } }`,
  });
  await become(holdfast, "up down");
  await waitFor(() => asked.some((line) => line === "GET /ready app app.intern"), "a check");
  assert.equal((await get(holdfast.port, "/")).body, "fine");
});

test("what is wrong in a check of type=https is said with file and line", { skip: noOpenssl }, async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server { listen 127.0.0.1:${port}; return 200; } }`,
  });
  const refused = (parameters: string, sentence: string) =>
    says(`upstream app { server 127.0.0.1:1;\ncheck ${QUICK} ${parameters}; }`, sentence);
  const says = async (config: string, sentence: string) => {
    const before = holdfast.errorLog().length;
    await holdfast.reload(`http {\n${config} }`);
    const said = holdfast.errorLog().slice(before).replaceAll(holdfast.prefix, "");
    assert.ok(said.includes(sentence) && said.includes(" in /conf/nginx.conf:3"), said);
  };
  await refused("type=http ssl_name=a", 'parameter "ssl_name" is for "type=https" and "type=grpcs" only');
  await refused("type=https ssl_verify=on", 'no "ssl_trusted_certificate" for "ssl_verify=on"');
  await refused("type=https ssl_verify=yes", 'invalid value "ssl_verify=yes", it must be "on" or "off"');
  await refused("type=https ssl_trusted_certificate=no.crt", 'cannot load certificate "/conf/no.crt"');
  await refused("type=grpcs ssl_certificate=no.crt", 'no "ssl_certificate_key" for "ssl_certificate"');
  await refused("type=grpcs ssl_certificate_key=no.key", 'no "ssl_certificate" for "ssl_certificate_key"');
  await refused(
    "type=grpcs ssl_certificate=no.crt ssl_certificate_key=no.key",
    'cannot load certificate "/conf/no.crt"',
  );
  await says(
    "upstream app { server 127.0.0.1:1; } server { location / { grpc_pass app;\nhealth_check; } }",
    'health_check needs a proxy_pass to an upstream in its location, or "type=grpc" for its grpc_pass',
  );
});
