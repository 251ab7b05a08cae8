/** What the other ssl_ directives do to handshakes, and what is said where OpenSSL refuses what they say. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateDirectory, createCertificate, noOpenssl, openssl, selfSigned } from "../support/certificates.ts";
import { runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { getOverTls } from "../support/tls.ts";

const { certificate, key } = noOpenssl ? { certificate: "", key: "" } : selfSigned("localhost");
const files = { "conf/crt": certificate, "conf/key": key };

test("versions, ciphers, groups and commands of OpenSSL's own", { skip: noOpenssl }, async (t) => {
  const other = selfSigned("other");
  const rsa = createCertificate(certificateDirectory(t), "rsa", { algorithm: "RSA" });
  const holdfast = await startHoldfast(t, {
    files: {
      ...files,
      "conf/other.crt": other.certificate,
      "conf/other.key": other.key,
      "conf/rsa.crt": rsa.certificate,
      "conf/rsa.key": rsa.key,
      "conf/dh": openssl("genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048"),
    },
    config: ([one, two, three]) => `worker_processes 1; http { ssl_certificate crt; ssl_certificate_key key;
      server { listen 127.0.0.1:${one} ssl; ssl_protocols TLSv1.2; ssl_prefer_server_ciphers on; ssl_ecdh_curve secp384r1:prime256v1;
        ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384; return 200 "$ssl_protocol $ssl_cipher $ssl_curve"; }
      server { listen 127.0.0.1:${two} ssl; ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;
        ssl_conf_command Certificate other.crt; ssl_conf_command PrivateKey other.key; return 200 "$ssl_protocol $ssl_cipher"; }
      server { listen 127.0.0.1:${three} ssl; ssl_protocols TLSv1.2; ssl_certificate rsa.crt; ssl_certificate_key rsa.key;
        ssl_dhparam dh; ssl_ciphers DHE+AESGCM; return 200 $ssl_cipher; } }`,
  });
  const [one, two, three] = holdfast.ports;
  const answer = async (port: number, options = {}) => (await getOverTls(port, "/", "localhost", options)).body;
  assert.equal(
    await answer(one, { ciphers: "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256" }),
    "TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256 secp384r1",
  );
  await assert.rejects(answer(one, { minVersion: "TLSv1.3" }));
  const trusted = { ca: other.certificate, servername: "other", rejectUnauthorized: true };
  assert.equal(await answer(two, trusted), "TLSv1.3 TLS_CHACHA20_POLY1305_SHA256");
  assert.match(await answer(three), /^DHE-RSA-/);
});

test("what OpenSSL refuses is said with the directive's line", { skip: noOpenssl }, async (t) => {
  const refused = async (directives: string, more: Record<string, string> = {}) => {
    const { code, stderr, prefix } = await runHoldfast(t, {
      args: ["-t"],
      files: { ...files, ...more },
      config: `http { server { listen 127.0.0.1:8443 ssl; ssl_certificate crt; ssl_certificate_key key;\n${directives} } }`,
    });
    assert.equal(code, 1, stderr);
    return /\[emerg\] (?:\d+#\d+: )?(.*)/.exec(stderr)?.[1].replaceAll(`${prefix}/conf/`, "");
  };
  assert.equal(
    await refused("ssl_ciphers NONE;"),
    'SSL_CTX_set_cipher_list("NONE") failed (SSL: error:0A0000B9:SSL routines::no cipher match) in nginx.conf:2',
  );
  assert.match(
    String(await refused("ssl_ecdh_curve none;")),
    /^SSL_CTX_set1_curves_list\("none"\) failed.* in nginx.conf:2$/,
  );
  assert.equal(await refused("ssl_protocols SSLv4;"), 'invalid value "SSLv4" in nginx.conf:2');
  assert.equal(await refused("ssl_buffer_size 0;"), '"ssl_buffer_size" directive invalid value in nginx.conf:2');
  assert.match(
    String(await refused("ssl_conf_command Options Bad;")),
    /^SSL_CONF_cmd\("Options", "Bad"\) failed \(SSL: error:.*:cmd=Options, value=Bad\) in nginx.conf:2$/,
  );
  assert.match(
    String(await refused("ssl_conf_command MinProtocol TLSv1.2;\nssl_conf_command Certificate none;")),
    /^SSL_CONF_cmd\("Certificate", "none"\) failed \(SSL: error:80000002:system library::No such file or directory:calling fopen\(none, r\) .*\) in nginx.conf:3$/,
  );
  assert.equal(
    await refused("ssl_dhparam none;"),
    'BIO_new_file("none") failed (SSL: error:80000002:system library::No such file or directory:calling fopen(none, r) error:10000080:BIO routines::no such file) in nginx.conf:2',
  );
  assert.match(
    String(await refused("ssl_dhparam crt;")),
    /^PEM_read_bio_Parameters\("crt"\) failed \(SSL: error:.*\) in nginx.conf:2$/,
  );
  assert.equal(
    await refused("ssl_verify_client on;"),
    "no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client in nginx.conf:2",
  );
  assert.match(
    String(await refused("ssl_client_certificate none; ssl_verify_client on;")),
    /^cannot load certificate "none": BIO_new_file\(\) failed \(SSL: .*\) in nginx.conf:2$/,
  );
  assert.match(
    String(await refused("ssl_crl key;")),
    /^cannot load CRL "key": PEM_read_bio_X509_CRL\(\) failed \(SSL: error:.*:no start line:.*\) in nginx.conf:2$/,
  );
});

test("a certificate is looked at when the whole block has been read, as in nginx", { skip: noOpenssl }, async (t) => {
  const refused = async (rest: string) => {
    const { code, stderr, prefix } = await runHoldfast(t, {
      args: ["-t"],
      files,
      config: `http { server { listen 127.0.0.1:8443 ssl; ssl_certificate crt; ssl_certificate_key none;
        location / { proxy_pass https://127.0.0.1:1; proxy_ssl_verify on; } }\n${rest}`,
    });
    assert.equal(code, 1, stderr);
    const found = stderr.matchAll(/\[emerg\] (?:\d+#\d+: )?(.*)/g);
    return Array.from(found, ([, said]) => said.replaceAll(`${prefix}/conf/`, "").replace(/(?<=failed).*(?= in )/, ""));
  };
  assert.deepEqual(await refused("server { listen 127.0.0.1:8444; ssl_protocols TLS1.3; } }"), [
    'invalid value "TLS1.3" in nginx.conf:3',
    'cannot load certificate key "none": BIO_new_file() failed in nginx.conf:1',
    "no proxy_ssl_trusted_certificate for proxy_ssl_verify in nginx.conf:2",
  ]);
  assert.deepEqual(await refused("server { listen 127.0.0.1:8444 } }"), ['unexpected "}" in nginx.conf:3']);
});

test("listeners without a certificate, and what has no effect", { skip: noOpenssl }, async (t) => {
  const said = async (servers: string) => {
    const { stderr, prefix } = await runHoldfast(t, { args: ["-t"], files, config: `http {\n${servers} }` });
    const lines = stderr.matchAll(/\[(emerg|warn)\] (?:\d+#\d+: )?(.*)/g);
    return Array.from(lines, ([, level, line]) => `${level} ${line.replaceAll(`${prefix}/conf/`, "")}`);
  };
  const certified = "ssl_certificate crt; ssl_certificate_key key;";
  const missing = 'emerg no "ssl_certificate" is defined for the "listen ... ssl" directive in nginx.conf:';
  assert.deepEqual(await said("server { listen 127.0.0.1:8443 ssl; }"), [`${missing}2`]);
  assert.deepEqual(await said(`${certified}\nserver { listen 127.0.0.1:8443 ssl; }`), []);
  // A server that is not the default one may be without: then the default one's certificate is shown.
  const other = "\nserver { listen 127.0.0.1:8443; server_name other; }";
  assert.deepEqual(await said(`server { listen 127.0.0.1:8443 ssl; ${certified} }${other}`), []);
  assert.deepEqual(await said(`server { listen 127.0.0.1:8443 ssl; ssl_reject_handshake on; }${other}`), [
    `${missing}3`,
  ]);
  assert.deepEqual(await said("server { listen 127.0.0.1:8443; ssl on; }"), [
    'emerg unknown directive "ssl", use the "listen ... ssl" directive instead in nginx.conf:2',
  ]);
  assert.deepEqual(
    await said(
      `server { listen 127.0.0.1:8443 ssl; ${certified} ssl_certificate_compression on;\nssl_ech_file none; }`,
    ),
    [
      'warn "ssl_certificate_compression" is not supported on this platform, ignored in nginx.conf:2',
      'warn "ssl_ech_file" is not supported on this platform, ignored in nginx.conf:3',
    ],
  );
  // One error, and none that only follows from it.
  assert.deepEqual(await said("server { listen 127.0.0.1:8443 ssl; ssl_certificate crt; }"), [
    'emerg no "ssl_certificate_key" is defined for certificate "crt" in nginx.conf:2',
  ]);
});
