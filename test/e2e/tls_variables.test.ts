import assert from "node:assert/strict";
import { test } from "node:test";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { noOpenssl, selfSigned } from "../support/certificates.ts";
import { startHoldfast } from "../support/holdfast.ts";

/** The variables of TLS connections. */

function connectTls(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
    socket.once("error", reject).once("secureConnect", () => resolve(socket));
  });
}

/** The body of the answer to a GET. */
async function ask(port: number, path: string, options: ConnectionOptions = {}): Promise<string> {
  const socket = await connectTls(port, options);
  socket.setEncoding("latin1").end(`GET ${path} HTTP/1.0\r\n\r\n`);
  let answer = "";
  for await (const text of socket) answer += text;
  return answer.slice(answer.indexOf("\r\n\r\n") + 4);
}

test("what a client offers, and what is agreed on", { skip: noOpenssl }, async (t) => {
  const { certificate, key } = selfSigned("localhost");
  const { ports } = await startHoldfast(t, {
    files: { "conf/a.crt": certificate, "conf/a.key": key },
    config: (ports) => `worker_processes 1; http { access_log off; ssl_certificate a.crt; ssl_certificate_key a.key;
      server { listen 127.0.0.1:${ports[0]} ssl;
        location /agreed { return 200 "$ssl_protocol $ssl_cipher $ssl_curve $ssl_sigalg $ssl_server_name"; }
        location /offered { return 200 "$ssl_ciphers $ssl_curves $ssl_sigalgs"; }
        location /client { return 200 "[$ssl_client_verify$ssl_client_s_dn$ssl_client_cert$ssl_client_sigalg$ssl_ech_status]"; } }
      server { listen 127.0.0.1:${ports[1]}; return 200 "[$ssl_protocol$ssl_ciphers$ssl_client_verify]"; } }`,
  });
  const [port, plain] = ports;
  const offer: ConnectionOptions = {
    ciphers: "TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES256-GCM-SHA384",
    ecdhCurve: "P-384:P-256",
    sigalgs: "ECDSA+SHA256:RSA-PSS+SHA256",
    servername: "localhost",
  };
  const agreed = "TLSv1.3 TLS_AES_128_GCM_SHA256 prime256v1 ecdsa_secp256r1_sha256 localhost";
  assert.equal(await ask(port, "/agreed", offer), agreed);
  const older = "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384 secp384r1 ecdsa_secp256r1_sha256 localhost";
  assert.equal(await ask(port, "/agreed", { ...offer, maxVersion: "TLSv1.2" }), older);
  assert.equal(
    await ask(port, "/offered", { ...offer, minVersion: "TLSv1.3" }),
    "TLS_AES_128_GCM_SHA256 secp384r1:prime256v1 0x0403:0x0804",
  );
  assert.equal(await ask(port, "/client"), "[NONE]");
  const response = await fetch(`http://127.0.0.1:${plain}/`);
  assert.equal(await response.text(), "[]");
});

test("the log line of a request whose client has gone has them", { skip: noOpenssl }, async (t) => {
  const { certificate, key } = selfSigned("localhost");
  const holdfast = await startHoldfast(t, {
    files: { "conf/a.crt": certificate, "conf/a.key": key, "html/large": Buffer.alloc(20_000_000) },
    config: ([port]) => `worker_processes 1; http { ssl_certificate a.crt; ssl_certificate_key a.key;
      log_format tls "$uri $ssl_protocol $ssl_server_name $ssl_session_reused."; access_log logs/tls.log tls;
      server { listen 127.0.0.1:${port} ssl; } }`,
  });
  const socket = await connectTls(holdfast.port, { servername: "localhost" });
  socket.write("GET /large HTTP/1.0\r\n\r\n");
  await new Promise((resolve) => socket.once("data", resolve));
  socket.destroy();
  await holdfast.waitForLog(/^\/large TLSv1\.3 localhost \.\.$/m, "logs/tls.log");
});
