/** Which server a TLS connection and its requests belong to: SNI, Host, and what is in force before either. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "node:tls";
import { noOpenssl, selfSigned } from "../support/certificates.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { exchangeOverTls, getOverTls } from "../support/tls.ts";

const { certificate, key } = noOpenssl ? { certificate: "", key: "" } : selfSigned("localhost");
const files = { "conf/crt": certificate, "conf/key": key };

test("the name of the handshake and the host of the request each choose a server", { skip: noOpenssl }, async (t) => {
  const holdfast = await startHoldfast(t, {
    files,
    config: ([port]) => `worker_processes 1; http { ssl_certificate crt; ssl_certificate_key key;
      server { listen 127.0.0.1:${port} ssl; server_name one.example; return 200 "one $ssl_server_name"; }
      server { listen 127.0.0.1:${port} ssl; server_name two.example; return 200 "two $ssl_server_name"; }
      server { listen 127.0.0.1:${port} ssl; server_name ~^(?<sub>\\w+)\\.(re)\\.example$; return 200 "$sub $2"; } }`,
  });
  const { port } = holdfast;
  const body = async (servername: string | undefined, host: string | undefined) =>
    (await getOverTls(port, "/", host, { servername })).body;
  assert.equal(await body("two.example", "two.example"), "two two.example");
  assert.equal(await body("TWO.example.", "two.example"), "two TWO.example.");
  assert.equal(await body("one.example", "two.example"), "two one.example");
  // As in nginx: without Host it is the default server, whatever the name of the handshake.
  assert.equal(await body("two.example", undefined), "one two.example");
  assert.equal(await body("two.example", "none.example"), "one two.example");
  assert.equal(await body("none.example", "two.example"), "two none.example");
  assert.equal(await body("no..name", "two.example"), "two no..name");
  assert.equal(await body(undefined, "two.example"), "two ");
  assert.equal(await body("a.re.example", "a.re.example"), "a re");
  assert.equal(await body("a.re.example", "b.re.example"), "b re");
});

test("the server of the handshake's name is in force until the host is known", { skip: noOpenssl }, async (t) => {
  const holdfast = await startHoldfast(t, {
    files,
    config: ([port]) => `worker_processes 1; http { ssl_certificate crt; ssl_certificate_key key;
      server { listen 127.0.0.1:${port} ssl; server_name one.example; }
      server { listen 127.0.0.1:${port} ssl; server_name two.example; error_log logs/two.log info; ssl_protocols TLSv1.3;
        large_client_header_buffers 1 1k; location / { return 200 "$uri"; } merge_slashes off; } }`,
  });
  const { port } = holdfast;
  const two = { servername: "two.example" };
  assert.equal((await getOverTls(port, "//a", "two.example", two)).body, "//a");
  const long = `/${"a".repeat(2000)}`;
  assert.equal((await getOverTls(port, long, "two.example", two)).status, 414);
  assert.equal((await getOverTls(port, long, "two.example")).status, 200);
  await assert.rejects(exchangeOverTls(port, "", { ...two, maxVersion: "TLSv1.2" }));
  await holdfast.waitForLog(
    /\[info\] .*SSL_do_handshake\(\) failed \(SSL: error:0A000102:.*:unsupported protocol\) while SSL handshaking, client: 127\.0\.0\.1, server: 127\.0\.0\.1:\d+$/m,
    "logs/two.log",
  );
});

test("a reload counts for connections that are open", { skip: noOpenssl }, async (t) => {
  const config = (
    port: number,
    answer: string,
  ) => `worker_processes 1; http { ssl_certificate crt; ssl_certificate_key key;
      server { listen 127.0.0.1:${port} ssl; server_name one.example; return 200 one; }
      server { listen 127.0.0.1:${port} ssl; server_name ~^(t)wo.example; return 200 "$1${answer}"; } }`;
  const holdfast = await startHoldfast(t, { files, config: ([port]) => config(port, "wo") });
  const { port } = holdfast;
  const request = "GET / HTTP/1.1\r\nHost: two.example\r\n\r\n";
  const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, servername: "two.example" });
  socket.setEncoding("latin1");
  t.after(() => socket.destroy());
  const answer = () => new Promise<string>((resolve) => socket.once("data", resolve));
  socket.write(request);
  assert.match(await answer(), /\r\n\r\ntwo$/);
  assert.equal(await holdfast.reload(config(port, "hree")), true);
  socket.write(request);
  assert.match(await answer(), /\r\n\r\nthree$/);
});

test("ssl_reject_handshake refuses names, and needs no certificate", { skip: noOpenssl }, async (t) => {
  const holdfast = await startHoldfast(t, {
    files,
    config: ([port]) => `worker_processes 1; http {
      server { listen 127.0.0.1:${port} ssl; ssl_reject_handshake on; }
      server { listen 127.0.0.1:${port} ssl; server_name two.example; return 200 two; ssl_certificate crt; ssl_certificate_key key; }
      server { listen 127.0.0.1:${port} ssl; server_name three.example; ssl_reject_handshake on; ssl_certificate crt; ssl_certificate_key key; } }`,
  });
  const { port } = holdfast;
  assert.equal((await getOverTls(port, "/", "two.example", { servername: "two.example" })).body, "two");
  for (const servername of ["one.example", "three.example", undefined]) {
    await assert.rejects(getOverTls(port, "/", "two.example", { servername }), {
      code: "ERR_SSL_TLSV1_UNRECOGNIZED_NAME",
    });
  }
  await holdfast.waitForLog(
    /\[info\] .*: \*\d+ handshake rejected while SSL handshaking, client: 127\.0\.0\.1, server: /,
  );
  assert.doesNotMatch(holdfast.errorLog(), /\[(crit|alert)\]/);
});

test("a client that is asked for another key exchange gets the server that it named", {
  skip: noOpenssl,
}, async (t) => {
  const holdfast = await startHoldfast(t, {
    files,
    config: ([
      port,
    ]) => `worker_processes 1; http { ssl_certificate crt; ssl_certificate_key key; ssl_ecdh_curve secp384r1;
      server { listen 127.0.0.1:${port} ssl; server_name one.example; return 200 one; }
      server { listen 127.0.0.1:${port} ssl; server_name two.example; return 200 "two $ssl_curve"; } }`,
  });
  // It guesses X25519, and is told by a HelloRetryRequest.
  const options = { servername: "two.example", ecdhCurve: "X25519:P-384", minVersion: "TLSv1.3" } as const;
  assert.equal((await getOverTls(holdfast.port, "/", "two.example", options)).body, "two secp384r1");
});
