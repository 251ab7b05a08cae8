import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { certificateDirectory, createCertificate, noOpenssl, selfSigned } from "../support/certificates.ts";
import { have } from "../support/have.ts";
import { startHoldfast, startNginx } from "../support/holdfast.ts";
import { askWithSession } from "../support/s_client.ts";

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

test("a resumed session has the name that its client asked for", { skip: noOpenssl }, async (t) => {
  const { certificate, key } = selfSigned("localhost");
  const directory = certificateDirectory(t);
  const { port } = await startHoldfast(t, {
    files: { "conf/a.crt": certificate, "conf/a.key": key },
    config: ([port]) => `worker_processes 1; http { ssl_certificate a.crt; ssl_certificate_key a.key;
      ssl_session_cache shared:tls:1m;
      server { listen 127.0.0.1:${port} ssl; return 200 "$ssl_server_name $ssl_session_reused"; } }`,
  });
  for (const options of [["-tls1_2"], ["-tls1_2", "-no_ticket"], ["-tls1_3"], ["-tls1_3", "-no_ticket"]]) {
    const session = join(directory, options.join(""));
    const asked = () => askWithSession(port, session, "-servername", "a.example", ...options);
    assert.equal(await asked(), "a.example .");
    assert.equal(await asked(), "a.example r", options.join(" "));
  }
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

test("what a client's certificate says, as nginx has it", { skip: noOpenssl || have("nginx") }, async (t) => {
  const directory = certificateDirectory(t);
  const server = createCertificate(directory, "server", { algorithm: "RSA" });
  const ca = createCertificate(directory, "ca", {
    subject: '/C=DE/ST=A b/O=One, two + "three"; <four>/CN=ca',
    extensions: ["basicConstraints=critical,CA:TRUE"],
  });
  const client = createCertificate(directory, "client", {
    subject: "/DC=example/O=Stra\u00dfe/OU=two  spaces/CN=#client/emailAddress=a@b.example",
    issuer: ca,
    days: 400,
    serial: "0x00A1B2C3D4E5F60718293A4B5C6D7E8F90",
  });
  const last = createCertificate(directory, "last", { subject: "/CN=last day", issuer: ca, days: 1 });
  const stranger = createCertificate(directory, "stranger", { algorithm: "RSA" });
  const variables = ["s_dn", "i_dn", "s_dn_legacy", "i_dn_legacy", "serial", "fingerprint", "verify"];
  variables.push("v_start", "v_end", "v_remain", "cert", "raw_cert", "escaped_cert");
  const site = (more: string) => ({
    files: { "conf/a.crt": server.certificate, "conf/a.key": server.key, "conf/ca.crt": ca.certificate },
    config: ([port]: readonly number[]) => `worker_processes 1; http { access_log off;
      server { listen 127.0.0.1:${port} ssl; ssl_certificate a.crt; ssl_certificate_key a.key;
        ssl_verify_client optional_no_ca; ssl_client_certificate ca.crt;
        ${more}
        location / { return 200 "${variables.map((name) => `${name}=[$ssl_client_${name}]`).join("\n")}"; } } }\nevents {}`,
  });
  const [holdfast, nginx] = await Promise.all([
    startHoldfast(t, site("location /sigalg { return 200 $ssl_client_sigalg; }")),
    startNginx(t, site("")),
  ]);
  const clients: readonly ConnectionOptions[] = [
    {},
    { cert: client.certificate, key: client.key },
    { cert: last.certificate, key: last.key },
    { cert: stranger.certificate, key: stranger.key },
  ];
  for (const options of clients) {
    const said = await ask(holdfast.port, "/", options);
    // Newer versions of OpenSSL escape slashes and plus signs in these.
    const compared = (text: string) => text.replaceAll("\\+", "+").replaceAll("\\/", "/");
    assert.equal(compared(said), compared(await ask(nginx.port, "/", options)));
  }
  assert.match(await ask(holdfast.port, "/", clients[1]), /^verify=\[SUCCESS\]$/m);
  assert.match(await ask(holdfast.port, "/", clients[3]), /^verify=\[FAILED:self-signed certificate\]$/m);
  assert.equal(await ask(holdfast.port, "/sigalg", clients[1]), "ecdsa_secp256r1_sha256");
  assert.equal(await ask(holdfast.port, "/sigalg", clients[3]), "rsa_pss_rsae_sha256");
});
