/** ssl_verify_client and what belongs to it: who gets in, who gets 495, 496 or 421, and what the log says. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { connect } from "node:tls";
import {
  type CertificateFiles,
  certificateDirectory,
  createCertificate,
  createRevocationList,
  noOpenssl,
} from "../support/certificates.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { askWithSession } from "../support/s_client.ts";
import { getOverTls } from "../support/tls.ts";

const CA = ["basicConstraints=critical,CA:TRUE"];

function shown({ certificate, key }: CertificateFiles, ...chain: CertificateFiles[]): { cert: string; key: string } {
  return { cert: certificate + chain.map((one) => one.certificate).join(""), key };
}

/** What an error page says below its heading, or the body. */
function text(body: string): string {
  return /<center>([^<]*)<\/center>\r\n<hr>/.exec(body)?.[1] ?? body;
}

test("clients are asked for certificates, and judged by them", { skip: noOpenssl }, async (t) => {
  const directory = certificateDirectory(t);
  const server = createCertificate(directory, "server");
  const ca = createCertificate(directory, "ca", { extensions: CA });
  const good = createCertificate(directory, "good", { issuer: ca });
  const stranger = createCertificate(directory, "stranger");
  const names = ["on", "optional", "optional.no.ca", "off"];
  const holdfast = await startHoldfast(t, {
    files: { "conf/crt": server.certificate, "conf/key": server.key, "conf/ca": ca.certificate },
    config: ([
      port,
    ]) => `worker_processes 1; http { ssl_certificate crt; ssl_certificate_key key; ssl_client_certificate ca;
      server { listen 127.0.0.1:${port} ssl; return 200 default; }
      ${names
        .map(
          (
            name,
          ) => `server { listen 127.0.0.1:${port} ssl; server_name ${name}; ssl_verify_client ${name.replaceAll(".", "_")};
            error_log logs/${name}.log info; return 200 $ssl_client_verify; }`,
        )
        .join("\n")} }`,
  });
  const { port } = holdfast;
  const answers = async (name: string) => {
    const all: string[] = [];
    for (const client of [{}, shown(good), shown(stranger)]) {
      const { status, body } = await getOverTls(port, "/", name, { servername: name, ...client });
      all.push(`${status} ${text(body)}`);
    }
    return all;
  };
  const unverified = "FAILED:self-signed certificate";
  assert.deepEqual(await answers("on"), [
    "400 No required SSL certificate was sent",
    "200 SUCCESS",
    "400 The SSL certificate error",
  ]);
  assert.deepEqual(await answers("optional"), ["200 NONE", "200 SUCCESS", "400 The SSL certificate error"]);
  assert.deepEqual(await answers("optional.no.ca"), ["200 NONE", "200 SUCCESS", `200 ${unverified}`]);
  assert.deepEqual(await answers("off"), ["200 NONE", "200 NONE", "200 NONE"]);
  await holdfast.waitForLog(
    /\[info\] .* client sent no required SSL certificate while reading client request headers, client: 127\.0\.0\.1, server: on, request: "GET \/ HTTP\/1\.1", host: "on"$/m,
    "logs/on.log",
  );
  await holdfast.waitForLog(
    /\[info\] .* client SSL certificate verify error: \(18:self-signed certificate\) while reading client request headers, client: /,
    "logs/on.log",
  );
});

test("a host that was not negotiated gets no answer of a server that verifies clients", {
  skip: noOpenssl,
}, async (t) => {
  const directory = certificateDirectory(t);
  const server = createCertificate(directory, "server");
  const ca = createCertificate(directory, "ca", { extensions: CA });
  const good = createCertificate(directory, "good", { issuer: ca });
  const holdfast = await startHoldfast(t, {
    files: { "conf/crt": server.certificate, "conf/key": server.key, "conf/ca": ca.certificate },
    config: ([
      port,
    ]) => `worker_processes 1; http { ssl_certificate crt; ssl_certificate_key key; ssl_client_certificate ca;
      server { listen 127.0.0.1:${port} ssl; server_name open; return 200 open; error_page 421 = @elsewhere;
        location @elsewhere { return 200 elsewhere; } }
      server { listen 127.0.0.1:${port} ssl; server_name closed; ssl_verify_client on; return 200 closed; } }`,
  });
  const { port } = holdfast;
  const client = shown(good);
  assert.equal((await getOverTls(port, "/", "closed", { servername: "closed", ...client })).body, "closed");
  assert.equal((await getOverTls(port, "/", "open", { servername: "closed", ...client })).body, "open");
  assert.equal((await getOverTls(port, "/", undefined, { servername: "closed", ...client })).body, "open");
  // The certificate was not asked for in the handshake; without SNI as well.
  assert.equal((await getOverTls(port, "/", "closed", client)).status, 400);
  assert.equal((await getOverTls(port, "/", "closed", { servername: "open", ...client })).body, "elsewhere");
  await holdfast.waitForLog(
    /\[info\] .* client attempted to request the server name different from the one that was negotiated while reading client request headers, client: 127\.0\.0\.1, server: open, request: "GET \/ HTTP\/1\.1", host: "closed"$/m,
  );
});

test("a session whose client was refused is not resumed", { skip: noOpenssl }, async (t) => {
  const directory = certificateDirectory(t);
  const server = createCertificate(directory, "server");
  const ca = createCertificate(directory, "ca", { extensions: CA });
  const good = createCertificate(directory, "good", { issuer: ca });
  const stranger = createCertificate(directory, "stranger");
  const holdfast = await startHoldfast(t, {
    files: { "conf/crt": server.certificate, "conf/key": server.key, "conf/ca": ca.certificate },
    config: ([
      port,
    ]) => `worker_processes 1; http { ssl_certificate crt; ssl_certificate_key key; ssl_client_certificate ca;
      ssl_verify_client on; ssl_session_cache shared:sessions:1m; ssl_session_tickets off;
      server { listen 127.0.0.1:${port} ssl; error_page 495 =200 @refused; location / { return 200 "$ssl_session_reused"; }
        location @refused { return 200 "refused $ssl_session_reused"; } } }`,
  });
  const ask = (client: CertificateFiles) =>
    askWithSession(
      holdfast.port,
      ...[`${client.certificateFile}.session`, "-tls1_2"],
      ...["-cert", client.certificateFile, "-key", client.keyFile],
    );
  assert.equal(await ask(good), ".");
  assert.equal(await ask(good), "r");
  assert.equal(await ask(stranger), "refused .");
  assert.equal(await ask(stranger), "refused .");
});

test("chains, their depth, and revoked certificates", { skip: noOpenssl }, async (t) => {
  const directory = certificateDirectory(t);
  const server = createCertificate(directory, "server");
  const root = createCertificate(directory, "root", { extensions: CA });
  const between = createCertificate(directory, "between", { extensions: CA, issuer: root });
  const leaf = createCertificate(directory, "leaf", { issuer: between });
  const revoked = createCertificate(directory, "revoked", { issuer: root, serial: "0x1234" });
  const kept = createCertificate(directory, "kept", { issuer: root, serial: "0x1235" });
  const holdfast = await startHoldfast(t, {
    files: {
      "conf/crt": server.certificate,
      "conf/key": server.key,
      "conf/root": root.certificate,
      "conf/crl": createRevocationList(directory, root, ["1234"]),
    },
    config: ([
      port,
    ]) => `worker_processes 1; http { ssl_certificate crt; ssl_certificate_key key; ssl_verify_client optional;
      ssl_trusted_certificate root;
      server { listen 127.0.0.1:${port} ssl; server_name deep; ssl_verify_depth 2; return 200 $ssl_client_verify; }
      server { listen 127.0.0.1:${port} ssl; server_name shallow; ssl_verify_depth 0; return 200 $ssl_client_verify; }
      server { listen 127.0.0.1:${port} ssl; server_name crl; ssl_crl crl; return 200 $ssl_client_verify; } }`,
  });
  const { port } = holdfast;
  const status = async (servername: string, client: { cert: string; key: string }) =>
    (await getOverTls(port, "/", servername, { servername, ...client })).status;
  assert.equal(await status("deep", shown(leaf, between)), 200);
  assert.equal(await status("shallow", shown(leaf, between)), 400);
  assert.equal(await status("deep", shown(leaf)), 400);
  assert.equal(await status("crl", shown(kept)), 200);
  assert.equal(await status("crl", shown(revoked)), 400);
  await holdfast.waitForLog(/client SSL certificate verify error: \(23:certificate revoked\)/);
});

test("after a reload nobody stays who was verified by what is no longer in force", { skip: noOpenssl }, async (t) => {
  const directory = certificateDirectory(t);
  const server = createCertificate(directory, "server");
  const ca = createCertificate(directory, "ca", { extensions: CA });
  const client = createCertificate(directory, "client", { issuer: ca, serial: "0x1234" });
  const holdfast = await startHoldfast(t, {
    files: {
      "conf/crt": server.certificate,
      "conf/key": server.key,
      "conf/ca": ca.certificate,
      "conf/crl": createRevocationList(directory, ca),
    },
    config: ([
      port,
    ]) => `worker_processes 1; http { ssl_certificate crt; ssl_certificate_key key; ssl_client_certificate ca;
      ssl_session_cache shared:sessions:1m;
      server { listen 127.0.0.1:${port} ssl; ssl_verify_client on; ssl_crl crl; return 200 $ssl_session_reused; } }`,
  });
  const { port } = holdfast;
  const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...shown(client) });
  socket.setEncoding("latin1");
  t.after(() => socket.destroy());
  const askAgain = async () => {
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const [answer] = (await once(socket, "data")) as [string];
    return answer;
  };
  const askResuming = (version: string) =>
    askWithSession(
      port,
      ...[join(directory, `session${version}`), version],
      ...["-cert", client.certificateFile, "-key", client.keyFile],
    );
  assert.match(await askAgain(), /^HTTP\/1\.1 200 /);
  for (const version of ["-tls1_2", "-tls1_3"]) assert.equal(await askResuming(version), ".");
  assert.equal(await holdfast.reload(), true);
  assert.match(await askAgain(), /^HTTP\/1\.1 200 /);
  for (const version of ["-tls1_2", "-tls1_3"]) assert.equal(await askResuming(version), "r");
  writeFileSync(join(holdfast.prefix, "conf/crl"), createRevocationList(directory, ca, ["1234"]));
  assert.equal(await holdfast.reload(), true);
  assert.match(await askAgain(), /^HTTP\/1\.1 421 .*\r\nConnection: close\r\n/s);
  for (const version of ["-tls1_2", "-tls1_3"]) assert.match(await askResuming(version), /The SSL certificate error/);
  await holdfast.waitForLog(/\[info\] .* client certificate was verified by what an earlier configuration says while /);
});

test("a session is resumed only where its client would be verified in the same way", { skip: noOpenssl }, async (t) => {
  const directory = certificateDirectory(t);
  const server = createCertificate(directory, "server");
  const ca = createCertificate(directory, "ca", { extensions: CA });
  const client = createCertificate(directory, "client", { issuer: ca, serial: "0x1234" });
  const holdfast = await startHoldfast(t, {
    files: {
      "conf/crt": server.certificate,
      "conf/key": server.key,
      "conf/ca": ca.certificate,
      "conf/crl": createRevocationList(directory, ca, ["1234"]),
    },
    config: ([
      port,
    ]) => `worker_processes 1; http { ssl_certificate crt; ssl_certificate_key key; ssl_client_certificate ca;
      ssl_session_cache shared:sessions:1m; ssl_verify_client on;
      server { listen 127.0.0.1:${port} ssl; server_name one; return 200 $ssl_session_reused; }
      server { listen 127.0.0.1:${port} ssl; server_name two; return 200 $ssl_session_reused; }
      server { listen 127.0.0.1:${port} ssl; server_name crl; ssl_crl crl; return 200 $ssl_session_reused; } }`,
  });
  const ask = (name: string, version: string) =>
    askWithSession(
      holdfast.port,
      ...[join(directory, `session${version}`), version, "-servername", name],
      ...["-cert", client.certificateFile, "-key", client.keyFile],
    );
  for (const version of ["-tls1_2", "-tls1_3"]) {
    assert.equal(await ask("one", version), ".");
    assert.equal(await ask("two", version), "r");
    assert.match(await ask("crl", version), /The SSL certificate error/);
  }
});
