import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { TLSSocket } from "node:tls";
import { type Backend, httpsBackend } from "../support/backend.ts";
import {
  type CertificateFiles,
  certificateDirectory,
  createCertificate,
  createRevocationList,
  noOpenssl,
  openssl,
} from "../support/certificates.ts";
import { have } from "../support/have.ts";
import { startHoldfast, startNginx } from "../support/holdfast.ts";
import { getLogged } from "../support/logged.ts";

/** proxy_ssl_verify and proxy_ssl_certificate: whom we believe, and who believes us. */

const CA = ["basicConstraints=critical,CA:TRUE"];

/** A server that says which name it was told, and whose certificate it was shown. */
function curious(t: TestContext, { certificate, key }: CertificateFiles, ca: CertificateFiles): Promise<Backend> {
  const options = { cert: certificate, key, ca: ca.certificate, requestCert: true, rejectUnauthorized: false };
  return httpsBackend(t, options, ({ socket }, response) => {
    if (!(socket instanceof TLSSocket)) throw new Error("no TLS");
    response.setHeader("Connection", "close");
    response.end(`${socket.getPeerCertificate().subject?.CN ?? "nobody"} ${socket.authorized}`);
  });
}

test("a server's certificate: who signed it, whom it is for, whether it was revoked; as nginx judges it", {
  skip: noOpenssl || have("nginx"),
}, async (t) => {
  const directory = certificateDirectory(t);
  const ca = createCertificate(directory, "ca", { extensions: CA });
  const between = createCertificate(directory, "between", { extensions: CA, issuer: ca });
  const direct = createCertificate(directory, "direct.example", { issuer: ca, serial: "0x11" });
  const revoked = createCertificate(directory, "revoked.example", { issuer: ca, serial: "0x12" });
  const wild = createCertificate(directory, "wild", { issuer: ca, extensions: ["subjectAltName=DNS:*.example.net"] });
  const far = createCertificate(directory, "far.example", { issuer: between });
  const expired = createCertificate(directory, "expired.example", { issuer: ca, days: -1 });
  const client = createCertificate(directory, "client", { issuer: ca });
  const override = createCertificate(directory, "override", { issuer: ca });
  const chain = { ...far, certificate: far.certificate + between.certificate };
  const [one, two, three, four, five] = await Promise.all(
    [direct, revoked, wild, chain, expired].map((certificate) => curious(t, certificate, ca)),
  );
  const location = (path: string, { address }: Backend, name: string, more = "") =>
    `location ${path} { proxy_pass https://${address}; proxy_ssl_name ${name}; ${more} }`;
  const files = {
    "conf/ca": ca.certificate,
    "conf/other": createCertificate(directory, "other", { extensions: CA }).certificate,
    "conf/crl": createRevocationList(directory, ca, ["12"]),
    "conf/client.crt": client.certificate,
    "conf/client.key": client.key,
    "conf/override.crt": override.certificate,
    "conf/override.key": override.key,
    "conf/encrypted.key": openssl("pkcs8", "-topk8", "-in", client.keyFile, "-passout", "pass:secret"),
    "conf/passwords": "wrong\nsecret\n",
  };
  const config = ([port]: readonly number[]) => `worker_processes 1; http { access_log off;
    server { listen 127.0.0.1:${port}; proxy_ssl_verify on; proxy_ssl_trusted_certificate ca;
      # nginx would resume a session that another location has verified.
      proxy_ssl_session_reuse off;
      ${location("/good", one, "direct.example")}
      ${location("/port", one, "direct.example:8443")}
      ${location("/other-name", one, "other.example")}
      ${location("/no-name", one, "$arg_none")}
      ${location("/other-ca", one, "direct.example", "proxy_ssl_trusted_certificate other;")}
      ${location("/off", one, "other.example", "proxy_ssl_verify off;")}
      ${location("/wild", three, "a.example.net")}
      ${location("/too-wild", three, "a.b.example.net")}
      ${location("/expired", five, "expired.example")}
      ${location("/chain", four, "far.example")}
      ${location("/deep", four, "far.example", "proxy_ssl_verify_depth 0;")}
      ${location("/listed", one, "direct.example", "proxy_ssl_crl crl;")}
      ${location("/revoked", two, "revoked.example", "proxy_ssl_crl crl;")}
      ${location("/unlisted", two, "revoked.example")}
      ${location("/shown", one, "direct.example", "proxy_ssl_certificate client.crt; proxy_ssl_certificate_key client.key;")}
      ${location("/command", one, "direct.example", "proxy_ssl_certificate client.crt; proxy_ssl_certificate_key client.key; proxy_ssl_conf_command Certificate override.crt; proxy_ssl_conf_command PrivateKey override.key;")}
      ${location("/encrypted", one, "direct.example", "proxy_ssl_certificate client.crt; proxy_ssl_certificate_key encrypted.key; proxy_ssl_password_file passwords;")}
      ${location("/variable", one, "$arg_host", "proxy_ssl_certificate $arg_who.crt; proxy_ssl_certificate_key $arg_who.key;")}
    } }`;
  const ours = await startHoldfast(t, { files, config });
  const nginx = await startNginx(t, { files, config });
  const expected: Record<string, string> = {
    "/good": "nobody false",
    "/port": "nobody false",
    "/other-name": '[error] upstream SSL certificate does not match "other.example" while SSL handshaking to upstream',
    "/no-name": '[error] upstream SSL certificate does not match "" while SSL handshaking to upstream',
    "/other-ca": "[error] upstream SSL certificate verify error: (19:self-signed certificate in certificate chain)",
    "/off": "nobody false",
    "/wild": "nobody false",
    "/too-wild": '[error] upstream SSL certificate does not match "a.b.example.net"',
    "/expired": "[error] upstream SSL certificate verify error: (10:certificate has expired)",
    "/chain": "nobody false",
    "/deep": "[error] upstream SSL certificate verify error: (20:unable to get local issuer certificate)",
    "/listed": "nobody false",
    "/revoked": "[error] upstream SSL certificate verify error: (23:certificate revoked)",
    "/unlisted": "nobody false",
    "/shown": "client true",
    "/command": "override true",
    "/encrypted": "client true",
    "/variable?host=direct.example&who=client": "client true",
    "/variable?host=direct.example&who=nobody": '[error] cannot load certificate "',
  };
  for (const [path, outcome] of Object.entries(expected)) {
    const lines = outcome.startsWith("[") ? 1 : 0;
    const answer = await getLogged(ours, path, lines);
    const { status, body, log } = await getLogged(nginx, path, lines);
    assert.equal(answer.status, status, path);
    if (lines === 0) assert.equal(answer.body, body, path);
    // The text of a file that is not there has this directory's name, and OpenSSL's version, in it.
    const short = (lines: readonly string[]) =>
      lines.map((line) => line.replace(/(cannot load certificate ").*/s, "$1"));
    assert.deepEqual(short(answer.log), short(log), path);
    assert.equal((lines === 0 ? body : log[0]).slice(0, outcome.length), outcome, path);
  }
});

test("what is wrong with a configuration is said with its line", { skip: noOpenssl }, async (t) => {
  const directory = certificateDirectory(t);
  const { certificate, key } = createCertificate(directory, "client");
  const other = createCertificate(directory, "other");
  const holdfast = await startHoldfast(t, {
    files: { "conf/crt": certificate, "conf/key": key, "conf/other": other.key, "conf/none": "" },
    config: ([port]) => `http { server { listen 127.0.0.1:${port}; return 200; } }`,
  });
  const said = async (lines: string, url = "https://127.0.0.1:1") => {
    const before = holdfast.errorLog().length;
    const config = `http { server { listen 127.0.0.1:${holdfast.port};\n${lines}\nlocation / { proxy_pass ${url}; } } }`;
    if (await holdfast.reload(config)) return "";
    const [, sentence] = /\[emerg\] \d+#\d+: ([^\n]*)/.exec(holdfast.errorLog().slice(before)) ?? [];
    return sentence?.replaceAll(`${holdfast.prefix}/conf/`, "").replaceAll(/ \(SSL: .*?\)( in nginx.conf)/g, "$1");
  };
  const refusals: Record<string, string> = {
    "proxy_ssl_verify on;": "no proxy_ssl_trusted_certificate for proxy_ssl_verify in nginx.conf:2",
    "proxy_ssl_certificate crt;": 'no "proxy_ssl_certificate_key" is defined for certificate "crt" in nginx.conf:2',
    "proxy_ssl_certificate missing; proxy_ssl_certificate_key key;":
      'cannot load certificate "missing": BIO_new_file() failed in nginx.conf:2',
    "proxy_ssl_certificate crt;\nproxy_ssl_certificate_key none;":
      'cannot load certificate key "none": PEM_read_bio_PrivateKey() failed in nginx.conf:3',
    "proxy_ssl_certificate crt;\nproxy_ssl_certificate_key other;":
      'SSL_CTX_use_PrivateKey("other") failed in nginx.conf:3',
    "proxy_ssl_verify on;\nproxy_ssl_trusted_certificate none;":
      'cannot load certificate "none": PEM_read_bio_X509_AUX() failed in nginx.conf:3',
    "proxy_ssl_verify on; proxy_ssl_trusted_certificate crt;\nproxy_ssl_crl none;":
      'cannot load CRL "none": PEM_read_bio_X509_CRL() failed in nginx.conf:3',
    "proxy_ssl_ciphers nonsense;": 'SSL_CTX_set_cipher_list("nonsense") failed in nginx.conf:2',
    "proxy_ssl_conf_command Protocol TLSv1.3;\nproxy_ssl_conf_command Nonsense 1;":
      'SSL_CONF_cmd("Nonsense", "1") failed in nginx.conf:3',
    "proxy_ssl_password_file missing;": 'open() "missing" failed (2: No such file or directory) in nginx.conf:2',
    "proxy_ssl_certificate_cache max=0;": 'invalid parameter "max=0" in nginx.conf:2',
    "proxy_ssl_certificate_cache valid=1s;":
      '"proxy_ssl_certificate_cache" must have the "max" parameter in nginx.conf:2',
  };
  for (const [lines, sentence] of Object.entries(refusals)) assert.equal(await said(lines), sentence, lines);
  // None of it matters where no server is asked over TLS.
  assert.equal(await said("proxy_ssl_verify on; proxy_ssl_certificate crt;", "http://127.0.0.1:1"), "");
  assert.equal(
    await said("proxy_ssl_verify on;", "$arg_to"),
    "no proxy_ssl_trusted_certificate for proxy_ssl_verify in nginx.conf:2",
  );
});
