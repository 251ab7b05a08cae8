/** ssl_ocsp: clients' certificates that were revoked since they were issued. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { type BackendConnection, tcpBackend } from "../support/backend.ts";
import { type CertificateFiles, certificateDirectory, createCertificate, noOpenssl } from "../support/certificates.ts";
import { a, nameServer } from "../support/dns.ts";
import { type Running, runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { ocspResponse, opensslResponder, requestIn, type Said, saidResponder } from "../support/ocsp.ts";
import { freePort } from "../support/ports.ts";
import { workersOf } from "../support/processes.ts";
import { askWithSession } from "../support/s_client.ts";
import { getOverTls } from "../support/tls.ts";
import { waitFor } from "../support/wait.ts";

const skip = { skip: noOpenssl };

const AUTHORITY = ["basicConstraints=critical,CA:TRUE"];

interface World {
  readonly directory: string;
  readonly root: CertificateFiles;
  readonly middle: CertificateFiles;
  readonly client: CertificateFiles;
  readonly files: Record<string, string>;
}

/** A client's certificate, issued by an authority that a root has issued; each names a responder. */
function makeWorld(t: TestContext, ofClient: string, ofMiddle = ofClient): World {
  const directory = certificateDirectory(t);
  const asks = (url: string) => (url === "" ? [] : [`authorityInfoAccess=OCSP;URI:${url}`]);
  const root = createCertificate(directory, "root", { extensions: AUTHORITY });
  const middle = createCertificate(directory, "middle", {
    issuer: root,
    serial: "0x10",
    extensions: [...AUTHORITY, ...asks(ofMiddle)],
  });
  const client = createCertificate(directory, "client", { issuer: middle, serial: "0x20", extensions: asks(ofClient) });
  const server = createCertificate(directory, "server");
  const files = {
    "conf/ca.crt": root.certificate + middle.certificate,
    "conf/server.crt": server.certificate,
    "conf/server.key": server.key,
  };
  return { directory, root, middle, client, files };
}

const server = (port: number, more: string) => `server { listen 127.0.0.1:${port} ssl; ${more}
  ssl_certificate server.crt; ssl_certificate_key server.key; ssl_verify_client on; ssl_verify_depth 2;
  ssl_client_certificate ca.crt; error_page 495 = @failed; location @failed { return 400 $ssl_client_verify; }
  location / { return 200 "$ssl_client_verify $request_uri"; } }`;

function start(t: TestContext, { files }: World, servers: readonly string[], workers = 1): Promise<Running> {
  return startHoldfast(t, {
    files,
    config: (ports) => `worker_processes ${workers}; http { access_log off;
      ${servers.map((more, i) => server(ports[i], more)).join("\n")} }`,
  });
}

/** The status and the body of an answer to a client with that certificate. */
async function ask(port: number, { certificate, key }: CertificateFiles, options: ConnectionOptions = {}) {
  const { status, body } = await getOverTls(port, "/", "localhost", { cert: certificate, key, ...options });
  return `${status} ${body}`;
}

const GOOD = "200 SUCCESS /";
const REVOKED = "400 FAILED:certificate revoked";
const REQUEST_FAILED = "400 FAILED:certificate status request failed";

test("openssl's responder: the client's own certificate, or all of its chain", skip, async (t) => {
  const [good, revoked, whole] = await Promise.all([freePort(), freePort(), freePort()]);
  const world = makeWorld(t, "");
  const { directory, middle } = world;
  await opensslResponder(t, { directory, issuer: middle, valid: ["20"], port: good });
  await opensslResponder(t, { directory, issuer: middle, revoked: ["20"], port: revoked });
  await opensslResponder(t, { directory, issuer: middle, valid: ["20"], port: whole });
  const responder = (port: number) => `ssl_ocsp_responder http://127.0.0.1:${port};`;
  const holdfast = await start(t, world, [
    `ssl_ocsp leaf; ${responder(good)}`,
    `ssl_ocsp leaf; ${responder(revoked)}`,
    `ssl_ocsp on; ${responder(whole)}`,
  ]);
  const { ports } = holdfast;
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    assert.equal(await ask(ports[0], world.client, { maxVersion }), GOOD);
    assert.equal(await ask(ports[1], world.client, { maxVersion }), REVOKED);
  }
  // That responder does not know the authority's own certificate, whose issuer is another.
  assert.equal(await ask(ports[2], world.client), REQUEST_FAILED);
  assert.match(
    holdfast.errorLog(),
    /\[info\] [^\n]*client SSL certificate verify error: certificate revoked while reading client request headers/,
  );
});

test("with `on` the whole chain is asked about, with `leaf` the client's own certificate", skip, async (t) => {
  const [ofClient, ofMiddle] = await Promise.all([freePort(), freePort()]);
  const world = makeWorld(t, `http://127.0.0.1:${ofClient}`, `http://127.0.0.1:${ofMiddle}`);
  const { root, middle, client } = world;
  let status: Said["status"] = "good";
  await saidResponder(t, () => ({ signer: middle }), ofClient);
  await saidResponder(t, () => ({ signer: root, status }), ofMiddle);
  const { ports } = await start(t, world, ["ssl_ocsp on;", "ssl_ocsp leaf;"]);
  assert.equal(await ask(ports[0], client), GOOD);
  status = "revoked";
  assert.equal(await ask(ports[0], client), REVOKED);
  assert.equal(await ask(ports[1], client), GOOD);
  status = "unknown";
  assert.equal(await ask(ports[0], client), "400 FAILED:certificate status unknown");
  // One that signs itself has nobody to be asked about, nor has one that was not verified, or not shown.
  assert.equal(await ask(ports[0], root), GOOD);
  const stranger = createCertificate(world.directory, "stranger");
  assert.match(await ask(ports[0], stranger), /^400 FAILED:self-signed certificate$/);
  const { status: none, body } = await getOverTls(ports[0], "/", "localhost");
  assert.equal(none, 400);
  assert.match(body, /No required SSL certificate was sent/);
});

test("ssl_ocsp_cache has the answers for all workers, and over a reload", skip, async (t) => {
  const port = await freePort();
  const world = makeWorld(t, `http://127.0.0.1:${port}`);
  const { middle, client } = world;
  let status: Said["status"] = "good";
  const responder = await saidResponder(t, () => ({ signer: middle, status }), port);
  const holdfast = await start(t, world, ["ssl_ocsp leaf; ssl_ocsp_cache shared:OCSP:1m;", "ssl_ocsp leaf;"], 2);
  const { ports } = holdfast;
  assert.equal(await ask(ports[0], client), GOOD);
  status = "revoked";
  for (let i = 0; i < 6; i++) assert.equal(await ask(ports[0], client), GOOD);
  assert.equal(responder.asked, 1);
  assert.ok(await holdfast.reload());
  assert.equal(await ask(ports[0], client), GOOD);
  assert.equal(responder.asked, 1);
  assert.equal(await ask(ports[1], client), REVOKED);
});

test("a session that is resumed is of no use to a certificate that was revoked", skip, async (t) => {
  const port = await freePort();
  const world = makeWorld(t, `http://127.0.0.1:${port}`);
  const { middle, client } = world;
  let status: Said["status"] = "good";
  const responder = await saidResponder(t, () => ({ signer: middle, status }), port);
  const { port: listen } = await start(t, world, ["ssl_ocsp leaf; ssl_session_cache shared:SSL:1m;"]);
  let session: Buffer | undefined;
  const socket = connect({
    port: listen,
    host: "127.0.0.1",
    rejectUnauthorized: false,
    cert: client.certificate,
    key: client.key,
  });
  socket.on("session", (bytes: Buffer) => {
    session = bytes;
  });
  socket.on("secureConnect", () => socket.write("GET / HTTP/1.0\r\n\r\n"));
  socket.resume();
  await once(socket, "close");
  assert.ok(session !== undefined);
  assert.equal(await ask(listen, client, { session }), GOOD);
  status = "revoked";
  assert.equal(await ask(listen, client, { session }), REVOKED);
  assert.equal(responder.asked, 3);
});

test("what cannot be found out is no good certificate, and the log says why", skip, async (t) => {
  const world = makeWorld(t, "http://responder.example:1/");
  const { middle, client, directory } = world;
  const stranger = createCertificate(directory, "stranger", { extensions: AUTHORITY });
  const silent = createCertificate(directory, "silent", { issuer: middle, serial: "0x30" });
  const secure = createCertificate(directory, "secure", {
    issuer: middle,
    serial: "0x31",
    extensions: ["authorityInfoAccess=OCSP;URI:https://responder.example/"],
  });
  const split = createCertificate(directory, "split", {
    issuer: middle,
    serial: "0x32",
    extensions: ["authorityInfoAccess=OCSP;URI:http://127.0.0.1/\\r\\nHost:evil"],
  });
  const nobody = await freePort();
  const forger = await saidResponder(t, () => ({ signer: middle, badSignature: true }));
  const foreign = await saidResponder(t, () => ({ signer: stranger, certificate: true }));
  const dns = await nameServer(t, () => ({ code: 3 }));
  const responder = (port: number) => `ssl_ocsp leaf; ssl_ocsp_responder http://127.0.0.1:${port};`;
  const holdfast = await start(t, world, [
    "ssl_ocsp leaf;",
    `ssl_ocsp leaf; resolver ${dns.address};`,
    responder(nobody),
    responder(forger.port),
    responder(foreign.port),
  ]);
  const { ports } = holdfast;
  const told = async (port: number, certificate: CertificateFiles, sentence: RegExp) => {
    assert.equal(await ask(port, certificate), REQUEST_FAILED);
    await holdfast.waitForLog(
      new RegExp(`\\[error\\] [^\\n]*\\*\\d+ ${sentence.source}[^\\n]*, client: 127\\.0\\.0\\.1, server: `),
    );
  };
  const requesting = (port: number) =>
    ` while requesting certificate status, responder: 127\\.0\\.0\\.1, peer: 127\\.0\\.0\\.1:${port}`;
  await told(ports[0], client, /no resolver defined to resolve responder\.example while requesting certificate status/);
  await told(ports[0], silent, /no OCSP responder URL in certificate/);
  await told(ports[0], secure, /invalid URL prefix in OCSP responder "https:\/\/responder\.example\/" in certificate/);
  await told(ports[1], client, /responder\.example could not be resolved \(3: Host not found\) while requesting/);
  await told(ports[2], client, new RegExp(`connect\\(\\) failed \\(111: Connection refused\\)${requesting(nobody)}`));
  await told(
    ports[3],
    client,
    new RegExp(`OCSP_basic_verify\\(\\) failed \\(SSL: [^\\n]*\\)${requesting(forger.port)}`),
  );
  await told(
    ports[4],
    client,
    new RegExp(`OCSP_basic_verify\\(\\) failed \\(SSL: [^\\n]*\\)${requesting(foreign.port)}`),
  );
  assert.equal(await ask(ports[0], split), REQUEST_FAILED);
  assert.doesNotMatch(holdfast.errorLog(), /\[(crit|alert|emerg)\]/);
});

/** A responder that answers when it is told to. */
async function slowResponder(t: TestContext, signer: CertificateFiles) {
  const waiting: BackendConnection[] = [];
  const requests: Buffer[] = [];
  const backend = await tcpBackend(t, async (connection) => {
    const head = await connection.readHeader();
    if (head === undefined) return;
    requests.push(requestIn(head.split(" ")[1]));
    waiting.push(connection);
  });
  return {
    ...{ port: backend.port, waiting },
    answer(at: number): void {
      const body = ocspResponse(requests[at], { signer });
      waiting[at].write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
      waiting[at].write(body);
    },
  };
}

function connected(port: number, { certificate, key }: CertificateFiles, options: ConnectionOptions = {}): TLSSocket {
  const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, cert: certificate, key, ...options });
  socket.on("error", () => {});
  return socket;
}

test("requests wait for the status, other clients do not, and who leaves is forgotten", skip, async (t) => {
  const world = makeWorld(t, "");
  const { middle, client } = world;
  const responder = await slowResponder(t, middle);
  const holdfast = await start(t, world, [
    `ssl_ocsp leaf; ssl_ocsp_responder http://127.0.0.1:${responder.port}; client_max_body_size 0;`,
    "",
    `ssl_ocsp leaf; ssl_ocsp_responder http://127.0.0.1:${responder.port}; client_header_timeout 1s;`,
  ]);
  const { ports } = holdfast;
  const [worker] = workersOf(holdfast.pid);

  // As far as the client can tell, the handshake is complete.
  const body = Buffer.alloc(300_000, "body");
  const waits = connected(ports[0], client);
  await once(waits, "secureConnect");
  let answer = "";
  waits.on("data", (bytes) => {
    answer += String(bytes);
  });
  waits.write(`POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`);
  waits.write(body);
  waits.write("GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  await waitFor(() => responder.waiting.length === 1, "a question");
  assert.equal(await ask(ports[1], client), GOOD);
  assert.equal(answer, "");
  responder.answer(0);
  await once(waits, "close");
  assert.match(answer, /200 OK[\s\S]*SUCCESS \/first[\s\S]*200 OK[\s\S]*SUCCESS \/second$/);

  // A client that leaves takes its question with it.
  const raw = connectTcp({ port: ports[0], host: "127.0.0.1" });
  const leaves = connected(ports[0], client, { socket: raw });
  await once(leaves, "secureConnect");
  await waitFor(() => responder.waiting.length === 2, "another question");
  raw.resetAndDestroy();
  await waitFor(() => responder.waiting[1].ended, "the end of the question");

  const expires = connected(ports[2], client);
  await once(expires, "secureConnect");
  await waitFor(() => responder.waiting.length === 3, "a third question");
  await once(expires, "close");
  await holdfast.waitForLog(/\[info\] [^\n]*client timed out \(110: Connection timed out\) while SSL handshaking/);
  await waitFor(() => responder.waiting[2].ended, "the end of that question");
  assert.deepEqual(workersOf(holdfast.pid), [worker]);
  assert.doesNotMatch(holdfast.errorLog(), /\[(crit|alert|emerg)\]/);
});

test("early data waits for the status as well", skip, async (t) => {
  const port = await freePort();
  const world = makeWorld(t, `http://127.0.0.1:${port}`);
  const { middle, client, directory } = world;
  let status: Said["status"] = "good";
  await saidResponder(t, () => ({ signer: middle, status }), port);
  const holdfast = await start(t, world, ["ssl_ocsp leaf; ssl_early_data on;"]);
  const session = join(directory, "session.pem");
  const early = join(directory, "early");
  writeFileSync(early, "GET /early HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const certificate = ["-cert", client.certificateFile, "-key", client.keyFile];
  assert.equal(await askWithSession(holdfast.port, session, ...certificate), "SUCCESS /");
  assert.match(
    await askWithSession(holdfast.port, session, ...certificate, "-early_data", early),
    /^SUCCESS \/earlyHTTP\/1\.1 200 OK[\s\S]*SUCCESS \/$/,
  );
  status = "revoked";
  const refused = await askWithSession(holdfast.port, session, ...certificate, "-early_data", early);
  assert.equal(refused, "FAILED:certificate revoked");
  assert.doesNotMatch(holdfast.errorLog(), /\[(crit|alert|emerg)\]/);
});

test("a resolver finds the responder that a certificate names", skip, async (t) => {
  const port = await freePort();
  const world = makeWorld(t, `http://responder.example:${port}`);
  const { middle, client } = world;
  await saidResponder(t, () => ({ signer: middle }), port);
  const dns = await nameServer(t, () => ({ records: [a(60, "127.0.0.1")] }));
  const holdfast = await start(t, world, [`ssl_ocsp leaf; resolver ${dns.address} ipv6=off;`]);
  assert.equal(await ask(holdfast.port, client), GOOD);
});

test("settings that cannot be are refused in nginx's words", skip, async (t) => {
  const world = makeWorld(t, "");
  const refused = async (more: string, sentence: string, verify = "on") => {
    const { stderr, code } = await runHoldfast(t, {
      args: ["-t"],
      files: world.files,
      config: ([port]) =>
        `http { ${server(port, more).replace("ssl_verify_client on", `ssl_verify_client ${verify}`)} }`,
    });
    assert.ok(stderr.includes(`[emerg] ${sentence}`), `${sentence} is not in ${stderr}`);
    assert.equal(code, 1);
  };
  await refused("ssl_ocsp maybe;", 'invalid value "maybe" in');
  await refused(
    "ssl_ocsp on;",
    '"ssl_ocsp" is incompatible with "ssl_verify_client optional_no_ca" in',
    "optional_no_ca",
  );
  await refused("ssl_ocsp_cache shared:OCSP;", 'invalid OCSP cache "shared:OCSP" in');
  await refused("ssl_ocsp_cache shared:OCSP:1k;", 'OCSP cache "shared:OCSP:1k" is too small in');
  await refused("ssl_ocsp_cache off; ssl_ocsp_cache off;", '"ssl_ocsp_cache" directive is duplicate in');
  await refused(
    "ssl_ocsp on; ssl_ocsp_responder https://a;",
    'invalid URL prefix in OCSP responder "https://a" in "ssl_ocsp_responder" in',
  );
  await refused(
    "ssl_ocsp on; ssl_ocsp_responder http://responder.invalid/x;",
    'host not found in OCSP responder "responder.invalid/x" in "ssl_ocsp_responder" in',
  );
});
