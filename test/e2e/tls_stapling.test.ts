/** ssl_stapling: the responses of OCSP responders on their way through the checker to clients. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { connect } from "node:tls";
import { httpBackend, tcpBackend } from "../support/backend.ts";
import { type CertificateFiles, certificateDirectory, createCertificate, noOpenssl } from "../support/certificates.ts";
import { a, nameServer } from "../support/dns.ts";
import { finish, runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { ocspResponse, opensslResponder, requestIn, saidResponder } from "../support/ocsp.ts";
import { freePort } from "../support/ports.ts";
import { checkersOf, workersOf } from "../support/processes.ts";
import { waitFor } from "../support/wait.ts";

const skip = { skip: noOpenssl };

/** An authority, and a certificate of its own that names a responder on that port. */
function certified(
  t: TestContext,
  responder: string,
  serial = "0x1000",
): { ca: CertificateFiles; end: CertificateFiles } {
  const directory = certificateDirectory(t);
  const ca = createCertificate(directory, "ca", { extensions: ["basicConstraints=critical,CA:TRUE"] });
  const extensions = responder === "" ? [] : [`authorityInfoAccess=OCSP;URI:${responder}`];
  return { ca, end: createCertificate(directory, "end", { issuer: ca, extensions, serial }) };
}

function files({ ca, end }: { ca: CertificateFiles; end: CertificateFiles }): Record<string, string> {
  return { "conf/end.crt": end.certificate + ca.certificate, "conf/end.key": end.key };
}

const server = (port: number, more: string) => `server { listen 127.0.0.1:${port} ssl; ssl_stapling on; ${more}
  ssl_certificate end.crt; ssl_certificate_key end.key; return 200 hello; }`;

/** The response that comes along with the certificate; undefined for none. */
function stapled(port: number): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    let response: Buffer | undefined;
    const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, requestOCSP: true });
    socket.on("OCSPResponse", (bytes: Buffer | null) => {
      response = bytes === null || bytes.length === 0 ? undefined : bytes;
    });
    socket.on("error", reject);
    socket.on("secureConnect", () => socket.destroy());
    socket.on("close", () => resolve(response));
  });
}

test("a response of openssl's responder is sent along with the certificate, in TLS 1.2 and 1.3", skip, async (t) => {
  const port = await freePort();
  const made = certified(t, `http://127.0.0.1:${port}`);
  const directory = certificateDirectory(t);
  await opensslResponder(t, { directory, issuer: made.ca, valid: ["1000"], port });
  const holdfast = await startHoldfast(t, {
    files: files(made),
    config: ([listen]) => `worker_processes 2; http { access_log off; ${server(listen, "")} }`,
  });
  await waitFor(() => stapled(holdfast.port), "a stapled response");
  const ca = join(directory, "ca.crt");
  writeFileSync(ca, made.ca.certificate);
  for (const version of ["-tls1_2", "-tls1_3"]) {
    const args = ["s_client", "-connect", `127.0.0.1:${holdfast.port}`, "-status", "-CAfile", ca, version];
    const { stdout } = await finish(spawn("openssl", args, { stdio: ["ignore", "pipe", "pipe"] }));
    assert.match(stdout, /OCSP Response Status: successful \(0x0\)/);
    assert.match(stdout, /Cert Status: good/);
    assert.match(stdout, /Verify return code: 0 \(ok\)/);
  }
});

test("what a responder must not have said never reaches a client, and the log says why", skip, async (t) => {
  const made = certified(t, "http://127.0.0.1:1");
  const stranger = createCertificate(certificateDirectory(t), "stranger");
  const signer = made.ca;
  const type = { "Content-Type": "application/ocsp-response" };
  const answers: Record<string, (request: Buffer) => Buffer> = {
    revoked: (request) => ocspResponse(request, { signer, status: "revoked" }),
    unknown: (request) => ocspResponse(request, { signer, status: "unknown" }),
    expired: (request) => ocspResponse(request, { signer, thisUpdate: -9000, nextUpdate: -4000 }),
    early: (request) => ocspResponse(request, { signer, thisUpdate: 4000, nextUpdate: 9000 }),
    forged: (request) => ocspResponse(request, { signer, badSignature: true }),
    stranger: (request) => ocspResponse(request, { signer: stranger }),
    another: (request) => ocspResponse(request, { signer, ofAnother: true }),
    broken: (request) => ocspResponse(request, { signer }).fill(0x41, 20, 60),
    busy: () => Buffer.from("30030a0103", "hex"),
    empty: () => Buffer.alloc(0),
    huge: () => Buffer.alloc(20_000),
  };
  const responder = await httpBackend(t, (request, response) => {
    const [, name] = (request.url ?? "").split("/");
    if (name === "page") response.writeHead(200, { "Content-Type": "text/html" }).end("<html>");
    else if (name === "error") response.writeHead(500, type).end();
    else response.writeHead(200, type).end(answers[name](requestIn(request.url ?? "")));
  });
  const endless = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.write("HTTP/1.0 200 OK\r\n\r\n");
    while (!connection.ended) {
      connection.write(Buffer.alloc(1000));
      await new Promise(setImmediate);
    }
  });
  const garbage = await tcpBackend(t, (connection) => connection.write("\0\x01SSH-2.0 hello\r\n\r\n"));
  const closing = await tcpBackend(t, (connection) => connection.end());
  const nobody = await freePort();
  const sentences: Record<string, RegExp> = {
    revoked: /certificate status "revoked" in the OCSP response/,
    unknown: /certificate status "unknown" in the OCSP response/,
    expired: /OCSP_check_validity\(\) failed \(SSL: [^\n]*status expired\)/,
    early: /OCSP_check_validity\(\) failed \(SSL: [^\n]*status not yet valid\)/,
    forged: /OCSP_basic_verify\(\) failed \(SSL: [^\n]*\)/,
    stranger: /OCSP_basic_verify\(\) failed \(SSL: [^\n]*\)/,
    another: /certificate status not found in the OCSP response/,
    broken: /(d2i_OCSP_RESPONSE|OCSP_response_get1_basic)\(\) failed \(SSL: [^\n]*\)/,
    busy: /OCSP response not successful \(3: trylater\)/,
    empty: /d2i_OCSP_RESPONSE\(\) failed/,
    huge: /OCSP responder sent too large response/,
    page: /OCSP responder sent invalid "Content-Type" header: "text\/html"/,
    error: /OCSP responder sent status 500/,
  };
  const urls = Object.keys(sentences).map((name) => `http://127.0.0.1:${responder.port}/${name}`);
  const peers = [endless.port, garbage.port, closing.port, nobody];
  urls.push(...peers.map((port) => `http://127.0.0.1:${port}`));
  const ports = await Promise.all(urls.map(() => freePort()));
  const holdfast = await startHoldfast(t, {
    files: files(made),
    config: () => `worker_processes 1; http { access_log off;
      ${urls.map((url, i) => server(ports[i], `ssl_stapling_responder ${url};`)).join("\n")} }`,
  });
  const [worker] = workersOf(holdfast.pid);
  const told = async (port: number, { source }: RegExp) => {
    const where = `while requesting certificate status, responder: 127\\.0\\.0\\.1, peer: 127\\.0\\.0\\.1:${port}`;
    const line = `\\[error\\] [^\\n]*: ${source} ${where}, certificate: "[^"\\n]*/conf/end\\.crt"\\n`;
    await holdfast.waitForLog(new RegExp(line));
  };
  for (const sentence of Object.values(sentences)) await told(responder.port, sentence);
  await told(endless.port, /OCSP responder sent too large response/);
  await told(garbage.port, /OCSP responder sent invalid response/);
  await told(closing.port, /OCSP responder prematurely closed connection/);
  await told(nobody, /connect\(\) failed \(111: Connection refused\)/);
  for (const port of ports) assert.equal(await stapled(port), undefined);
  assert.deepEqual(workersOf(holdfast.pid), [worker]);
  assert.doesNotMatch(holdfast.errorLog(), /\[(crit|alert|emerg)\]/);
});

test("a reload keeps the response, and asks again where it would not be believed any more", skip, async (t) => {
  const port = await freePort();
  const made = certified(t, `http://127.0.0.1:${port}/`);
  const responder = await saidResponder(t, () => ({ signer: made.ca }), port);
  const other = certified(t, `http://127.0.0.1:${port}/`, "0x2000");
  const config = (listen: number, more: string) =>
    `worker_processes 1; http { access_log off; ${server(listen, "")} ${more} }`;
  const holdfast = await startHoldfast(t, {
    files: {
      ...files(made),
      "conf/other.crt": other.end.certificate + other.ca.certificate,
      "conf/other.key": other.end.key,
    },
    config: ([listen]) => config(listen, ""),
  });
  const first = await waitFor(() => stapled(holdfast.port), "a stapled response");
  // Seven more servers, so that the zone has to grow; they have one certificate in common.
  const more = holdfast.ports.slice(1).map(
    (listen) => `server { listen 127.0.0.1:${listen} ssl; ssl_stapling on; ssl_certificate other.crt;
      ssl_certificate_key other.key; return 200 other; ssl_stapling_responder http://127.0.0.1:${port}/${listen}; }`,
  );
  assert.ok(await holdfast.reload(config(holdfast.port, more.join("\n"))));
  assert.deepEqual(await stapled(holdfast.port), first);
  // What another authority has signed is refused for them all.
  await waitFor(() => responder.asked === 1 + more.length, "the other certificates' requests");
  assert.equal(await stapled(holdfast.ports[1]), undefined);
  assert.ok(await holdfast.reload(config(holdfast.port, "")));
  assert.deepEqual(await stapled(holdfast.port), first);
  assert.equal(responder.asked, 1 + more.length);
});

test("ssl_stapling_file is sent as it is", skip, async (t) => {
  const made = certified(t, "");
  let asked: Buffer | undefined;
  const port = await freePort();
  await httpBackend(
    t,
    (request, response) => {
      asked = requestIn(request.url ?? "");
      response.end();
    },
    port,
  );
  const options = (more: string) => ({
    files: files(made),
    config: ([listen]: readonly number[]) => `http { ${server(listen, more)} }`,
  });
  const probe = await startHoldfast(t, options(`ssl_stapling_responder http://127.0.0.1:${port};`));
  const request = await waitFor(() => asked, "a request");
  await probe.stop();
  const response = ocspResponse(request, { signer: made.ca, status: "revoked", nextUpdate: -3000, thisUpdate: -9000 });
  const given = options("ssl_stapling_file resp.der;");
  const holdfast = await startHoldfast(t, {
    ...given,
    files: { ...given.files, "conf/resp.der": Buffer.concat([response, Buffer.from("\n")]) },
  });
  assert.deepEqual(await stapled(holdfast.port), response);
});

test("what cannot be stapled is warned of, and what is no response refused", skip, async (t) => {
  const url = "http://responder.example:x/";
  const silent = certified(t, "");
  const wrong = certified(t, url);
  const tried = async (made: ReturnType<typeof certified>, more: string, chain = true) => {
    const given = files(made);
    if (!chain) given["conf/end.crt"] = made.end.certificate;
    return (
      await runHoldfast(t, {
        args: ["-t"],
        files: { ...given, "conf/resp.der": "no DER" },
        config: ([port]) => `http { ${server(port, more)} }`,
      })
    ).stderr;
  };
  const ignored = /\[warn\] "ssl_stapling" ignored, /.source;
  const certificate = /[^"\n]*\/conf\/end\.crt/.source;
  assert.match(
    await tried(silent, "", false),
    new RegExp(`${ignored}issuer certificate not found for certificate "${certificate}"`),
  );
  assert.match(
    await tried(silent, ""),
    new RegExp(`${ignored}no OCSP responder URL in the certificate "${certificate}"`),
  );
  assert.match(
    await tried(wrong, ""),
    new RegExp(`${ignored}invalid port in OCSP responder "responder.example:x/" in the certificate "${certificate}"`),
  );
  assert.match(
    await tried(silent, "ssl_stapling_responder https://a/;"),
    new RegExp(`${ignored}invalid URL prefix in OCSP responder "https://a/" in the certificate "${certificate}"`),
  );
  assert.match(
    await tried(silent, "ssl_certificate_compression on;"),
    /\[emerg\] "ssl_stapling" is incompatible with "ssl_certificate_compression"/,
  );
  assert.match(
    await tried(silent, "ssl_stapling_file none.der;"),
    /\[emerg\] BIO_new_file\("[^"\n]*\/conf\/none\.der"\) failed \(SSL: error:80000002:system library::No such file or directory:calling fopen\([^)\n]*none\.der, rb\)/,
  );
  assert.match(
    await tried(silent, "ssl_stapling_file resp.der;"),
    /\[emerg\] d2i_OCSP_RESPONSE_bio\("[^"\n]*\/conf\/resp\.der"\) failed \(SSL: error:/,
  );
});

test("a responder's name is resolved by the resolver, or else as the system does", skip, async (t) => {
  const port = await freePort();
  const made = certified(t, `http://localhost:${port}`);
  await saidResponder(t, () => ({ signer: made.ca }), port);
  const names: string[] = [];
  const dns = await nameServer(t, ({ name }) => {
    names.push(name);
    return { records: [a(60, "127.0.0.1")] };
  });
  const { ports } = await startHoldfast(t, {
    files: files(made),
    config: ([one, other]) => `worker_processes 1; http { ${server(one, "")}
      ${server(other, `resolver ${dns.address} ipv6=off; ssl_stapling_responder http://responder.example:${port};`)} }`,
  });
  await waitFor(() => stapled(ports[0]), "a response of the system's localhost");
  await waitFor(() => stapled(ports[1]), "a response of responder.example");
  assert.deepEqual(names, ["responder.example"]);
});

test("a checker that takes the place of one that died goes on with what that one knew", skip, async (t) => {
  const port = await freePort();
  const made = certified(t, `http://127.0.0.1:${port}`);
  const responder = await saidResponder(t, () => ({ signer: made.ca }), port);
  const config = (...servers: string[]) => `worker_processes 1; http { access_log off; ${servers.join("\n")} }`;
  const holdfast = await startHoldfast(t, { files: files(made), config: ([one]) => config(server(one, "")) });
  const [one, other] = holdfast.ports;
  const first = await waitFor(() => stapled(one), "a response");
  const [checker] = checkersOf(holdfast.pid);
  process.kill(checker, "SIGKILL");
  await waitFor(() => checkersOf(holdfast.pid).some((pid) => pid !== checker), "another checker");
  assert.deepEqual(await stapled(one), first);
  const more = server(other, `ssl_stapling_responder http://127.0.0.1:${port}/other;`);
  assert.ok(await holdfast.reload(config(server(one, ""), more)));
  await waitFor(() => stapled(other), "the other response");
  assert.deepEqual(await stapled(one), first);
  assert.equal(responder.asked, 2);
});

test("without master and checker one process does it all", skip, async (t) => {
  const port = await freePort();
  const made = certified(t, `http://127.0.0.1:${port}`);
  await saidResponder(t, () => ({ signer: made.ca }), port);
  const holdfast = await startHoldfast(t, {
    files: files(made),
    config: ([listen]) => `master_process off; http { ${server(listen, "")} }`,
  });
  await waitFor(() => stapled(holdfast.port), "a response");
});
