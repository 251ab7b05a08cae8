import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type ConnectionOptions, connect } from "node:tls";
import { identifierOf, namesOf } from "../support/acme_ca.ts";
import { AcmeServer, type AcmeServerOptions } from "../support/acme_server.ts";
import { noOpenssl } from "../support/certificates.ts";
import { a, nameServer } from "../support/dns.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { checkersOf } from "../support/processes.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const skip = noOpenssl;

interface Started {
  readonly holdfast: Running;
  readonly server: AcmeServer;
}

/** Holdfast with an ACME server; `issuer` and `servers` are added to the configuration. */
async function start(
  t: TestContext,
  options: AcmeServerOptions,
  { issuer = "", servers = "", files = {} }: { issuer?: string; servers?: string; files?: Record<string, string> },
): Promise<Started> {
  const httpPort = await freePort();
  const server = await AcmeServer.start(t, { httpPort, name: "acme.test", ...options });
  const dns = await nameServer(t, ({ type }) => (type === 1 ? { records: [a(60, "127.0.0.1")] } : {}));
  const holdfast = await startHoldfast(t, {
    files: { "conf/acme.crt": server.trusted, ...files },
    config: `events {}
      worker_processes 2;
      http {
        resolver ${dns.address} ipv6=off;
        acme_issuer example {
          uri ${server.url};
          ssl_trusted_certificate acme.crt;
          state_path state;
          ${issuer}
        }
        server { listen 127.0.0.1:${httpPort}; return 404; }
        ${servers}
      }`,
  });
  return { holdfast, server };
}

test("a certificate is ordered, validated by http-01, and kept in state_path", { skip }, async (t) => {
  const port = await freePort();
  const { holdfast, server } = await start(
    t,
    {},
    {
      issuer: "contact admin@example.test; contact https://example.test/contact; accept_terms_of_service;",
      servers: `server { listen 127.0.0.1:${port}; server_name .example.test 127.0.0.1; acme_certificate example;
        return 200 "$acme_certificate$acme_certificate_key"; }`,
    },
  );
  await holdfast.waitForLog(
    /\[notice\] \S+ certificate issued, renewal scheduled at \S+Z, acme issuer: "example", order: "www\.example\.test-[0-9a-f]+"/,
  );
  assert.deepEqual(server.accounts[0].contact, ["mailto:admin@example.test", "https://example.test/contact"]);
  const { body } = await get(port, "/");
  assert.match(body, /^data:-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----/);
  assert.match(body, /-----END CERTIFICATE-----\ndata:-----BEGIN PRIVATE KEY-----[^-]*-----END PRIVATE KEY-----\n$/);
  const [chain] = body.slice("data:".length).split("data:");
  assert.equal(namesOf(chain), "DNS:www.example.test, DNS:example.test, IP Address:127.0.0.1");
  assert.equal(new X509Certificate(chain).toString(), server.issued[0]);
  const state = join(holdfast.prefix, "state");
  assert.equal(statSync(state).mode & 0o777, 0o700);
  const kept = readdirSync(state).sort();
  assert.equal(kept.length, 4, String(kept));
  assert.deepEqual(kept.slice(0, 2), ["account.key", "account.url"]);
  assert.match(kept[2], /^www\.example\.test-[0-9a-f]+\.crt$/);
  assert.equal(kept[3], kept[2].replace("crt", "key"));
  for (const name of kept) assert.equal(statSync(join(state, name)).mode & 0o777, 0o600, name);
  assert.equal(holdfast.read(`state/${kept[2]}`), chain);
});

const CERTIFICATE = 'return 200 "$acme_certificate";';

/** A server that shows its certificate. */
function showing(port: number, names: string, certificate = "acme_certificate example;"): string {
  return `server { listen 127.0.0.1:${port}; server_name ${names}; ${certificate} ${CERTIFICATE} }`;
}

const issued = /certificate issued/;

test("a challenge is answered before anything else a server would do", { skip }, async (t) => {
  const port = await freePort();
  const server = await AcmeServer.start(t, { httpPort: port, name: "acme.test" });
  const dns = await nameServer(t, ({ type }) => (type === 1 ? { records: [a(60, "127.0.0.1")] } : {}));
  const holdfast = await startHoldfast(t, {
    files: { "conf/acme.crt": server.trusted },
    config: `events {}
      http { resolver ${dns.address} ipv6=off;
      acme_issuer example { uri ${server.url}; ssl_trusted_certificate acme.crt; state_path off; }
      server { listen 127.0.0.1:${port}; return 301 https://$host$request_uri; }
      server { listen 127.0.0.1:${port}; server_name example.test; acme_certificate example; deny all;
        rewrite ^ /elsewhere last; location / { ${CERTIFICATE} } } }`,
  });
  await holdfast.waitForLog(issued);
  assert.equal(
    (await get(port, "/.well-known/acme-challenge/unknown")).status,
    301,
    "what nobody asks for is not taken",
  );
  assert.deepEqual(
    readdirSync(holdfast.prefix).filter((name) => name.includes("acme")),
    [],
  );
});

test("keys of other types, an account that is bound to another, the terms, the name in the request", {
  skip,
}, async (t) => {
  const [rsa, p384] = [await freePort(), await freePort()];
  const mac = Buffer.from("a key that the CA has given out");
  const { holdfast, server } = await start(
    t,
    { externalAccounts: { "kid-1": mac }, termsOfService: true },
    {
      issuer: `account_key rsa:2048; external_account_key kid-1 eab.key; accept_terms_of_service; common_name_in_csr on;`,
      servers:
        showing(rsa, "rsa.test", "acme_certificate example key=rsa:2048;") +
        showing(p384, "p384.test other.test", "acme_certificate example 127.0.0.1 p384.test key=ecdsa:384;"),
      files: { "conf/eab.key": `${mac.toString("base64url")}\n` },
    },
  );
  await holdfast.waitForLog(/certificate issued[^\n]*rsa\.test/);
  await holdfast.waitForLog(/certificate issued[^\n]*p384\.test/);
  assert.deepEqual(
    server.accounts.map(({ external, jwk }) => [external, jwk.kty]),
    [["kid-1", "RSA"]],
  );
  const request = (name: string) => server.requests.find((text) => text.includes(`CN = ${name}`)) ?? "";
  assert.match(request("rsa.test"), /Public-Key: \(2048 bit\)/);
  assert.match(request("p384.test"), /NIST CURVE: P-384/);
  assert.match(request("p384.test"), /IP Address:127\.0\.0\.1, DNS:p384\.test/);
  assert.match((await get(rsa, "/")).body, /^data:/);
  assert.match((await get(p384, "/")).body, /^data:/);
});

test("nonces that are refused, rates that are limited for a second, and CAs that fail are asked again", {
  skip,
}, async (t) => {
  const port = await freePort();
  const { holdfast, server } = await start(
    t,
    {},
    { servers: showing(port, "one.test") + showing(await freePort(), "two.test") },
  );
  await holdfast.waitForLog(/certificate issued[^\n]*two\.test/);
  server.badNonces = 2;
  server.faults.push({ resource: "finalize", type: "rateLimited", status: 429, retryAfter: "1" });
  // Its second request finds that the first was taken.
  server.faults.push({ resource: "finalize", type: "lost" });
  const [order] = server.orders;
  assert.equal(order.profile, undefined);
  const config = holdfast.read("conf/nginx.conf");
  assert.ok(await holdfast.reload(config.replace("server_name two.test", "server_name three.test")));
  await holdfast.waitForLog(/certificate issued[^\n]*three\.test/);
  assert.equal(server.badNonces, 0);
  assert.deepEqual(server.faults, []);
  assert.equal(server.count("new-order"), 3, "what was issued is not ordered again by a reload");
});

test("a rate that is limited for longer makes everything wait; a reload tries at once", { skip }, async (t) => {
  const port = await freePort();
  const httpPort = await freePort();
  const server = await AcmeServer.start(t, { httpPort, name: "acme.test" });
  server.faults.push({
    resource: "new-order",
    type: "rateLimited",
    status: 429,
    retryAfter: "7200",
    detail: "too many",
  });
  const dns = await nameServer(t, ({ type }) => (type === 1 ? { records: [a(60, "127.0.0.1")] } : {}));
  const holdfast = await startHoldfast(t, {
    files: { "conf/acme.crt": server.trusted },
    config: `events {}
      http { resolver ${dns.address} ipv6=off; acme_shared_zone zone=certificates:64k;
      acme_issuer example { uri ${server.url}; ssl_trusted_certificate acme.crt; state_path off; }
      server { listen 127.0.0.1:${httpPort}; } ${showing(port, "one.test")} ${showing(await freePort(), "two.test")} }`,
  });
  await holdfast.waitForLog(
    /\[error\] \S+ rate limit exceeded, next attempt in 7200s while processing renewals; [^\n]*acme issuer: "example"/,
  );
  assert.equal((await get(port, "/")).body, "", "there is no certificate yet");
  assert.equal(server.count("new-order"), 1);
  const accounts = server.accounts.length;
  server.faults.push({ resource: "new-order", type: "rejectedIdentifier", detail: "not this one" });
  assert.ok(await holdfast.reload());
  await holdfast.waitForLog(
    /\[error\] \S+ urn:ietf:params:acme:error:rejectedIdentifier: not this one while updating certificate; no more attempts until the configuration is reloaded, acme issuer: "example", order: "one\.test-/,
  );
  await holdfast.waitForLog(/certificate issued[^\n]*two\.test/);
  // Another size: what the zone has is copied. A key that was made without state_path is kept.
  assert.ok(await holdfast.reload(holdfast.read("conf/nginx.conf").replace(":64k", ":128k")));
  await holdfast.waitForLog(/certificate issued[^\n]*one\.test/);
  assert.equal(server.count("new-order"), 4);
  assert.equal(server.accounts.length, accounts, "the account's key was kept");
});

test("a CA's other chain, a profile, and a profile that it does not have", { skip }, async (t) => {
  const [one, two] = [await freePort(), await freePort()];
  const { holdfast, server } = await start(
    t,
    { profiles: ["short", "long"] },
    {
      issuer: 'preferred_chain "Other Root"; profile short;',
      servers: showing(one, "one.test"),
    },
  );
  await holdfast.waitForLog(issued);
  assert.equal(server.orders[0].profile, "short");
  assert.equal((await get(one, "/")).body, `data:${server.issued[0]}${server.ca.crossSigned}`);
  const config = holdfast.read("conf/nginx.conf").replace("profile short", "profile none");
  assert.ok(await holdfast.reload(config.replace(/}\s*$/, `${showing(two, "two.test")} }`)));
  await holdfast.waitForLog(/acme profile "none" is not supported by the server/);
  await holdfast.waitForLog(/certificate issued[^\n]*two\.test/);
  assert.equal(server.orders[1].profile, undefined);
  assert.ok(
    await holdfast.reload(config.replace("profile none", "profile none require").replace("one.test", "three.test")),
  );
  await holdfast.waitForLog(/invalidProfile: no profile "none" while updating certificate/);
});

test("a restart serves what state_path has, and asks the CA when to renew", { skip }, async (t) => {
  const port = await freePort();
  const { holdfast, server } = await start(t, { renewalInfo: true }, { servers: showing(port, "example.test") });
  await holdfast.waitForLog(/CA suggested renewal window: \S+, see https:\/\/localhost\/why for details/);
  await holdfast.waitForLog(issued);
  const [first] = server.issued;
  const { validTo } = new X509Certificate(first);
  assert.ok(Date.parse(validTo) > Date.now());
  await holdfast.stop("SIGQUIT");
  // The CA wants it to be replaced now.
  const window = { start: Date.now() - 60_000, end: Date.now() - 30_000 };
  server.windows.set(identifierOf(first), window);
  const again = await startHoldfast(t, { prefix: holdfast.prefix, config: holdfast.read("conf/nginx.conf") });
  assert.match((await get(port, "/")).body, /^data:-----BEGIN/, "at the first request");
  await again.waitForLog(/certificate issued[\s\S]*certificate issued/);
  await waitFor(
    async () => (await get(port, "/")).body.startsWith(`data:${server.issued[1]}`),
    "the renewed certificate",
  );
  assert.equal(server.orders[1].replaces, identifierOf(first));
  assert.equal(server.accounts.length, 1);
});

test("files of state_path that cannot be used are named, and a certificate is ordered", { skip }, async (t) => {
  const port = await freePort();
  const order = "example.test-65b872a71da031a2";
  const { holdfast, server } = await start(
    t,
    {},
    {
      servers: showing(port, "example.test"),
      files: { [`state/${order}.crt`]: "rubbish", [`state/${order}.key`]: "rubbish", "state/account.key": "rubbish" },
    },
  );
  await holdfast.waitForLog(
    /cannot load certificate from the state directory: [^\n]*order: "example\.test-65b872a71da031a2"/,
  );
  await holdfast.waitForLog(/the account's key in the state directory cannot be used, another one is made/);
  await holdfast.waitForLog(issued);
  assert.match(holdfast.read(`state/${order}.crt`), /^-----BEGIN CERTIFICATE-----/);
  assert.equal(server.accounts.length, 1);
});

test("what is wrong between us and the CA is said in the log", { skip }, async (t) => {
  const { holdfast, server } = await start(
    t,
    { externalAccounts: {} },
    {
      servers: `acme_issuer other { uri https://gone.test:1/; ssl_verify off; state_path off; }
        ${showing(await freePort(), "one.test")} ${showing(await freePort(), "two.test", "acme_certificate other;")}`,
    },
  );
  await holdfast.waitForLog(
    /\[error\] \S+ external account key required while creating account; no more attempts until the configuration is reloaded, acme issuer: "example"/,
  );
  await holdfast.waitForLog(
    /gone\.test: connect ECONNREFUSED 127\.0\.0\.1:1 while processing renewals; next attempt in \d+s/,
  );
  assert.ok(await holdfast.reload(holdfast.read("conf/nginx.conf").replace("ssl_trusted_certificate acme.crt;", "")));
  await holdfast.waitForLog(
    /acme\.test: upstream SSL certificate verify error: \(18:self-signed certificate\) while processing renewals/,
  );
  assert.equal(server.accounts.length, 0);
});

test("without an answer to its challenge a name gets no certificate, and one with a wildcard has none to answer", {
  skip,
}, async (t) => {
  const wildcard = showing(await freePort(), "wild.test", "acme_certificate example *.wild.test;");
  const { holdfast, server } = await start(
    t,
    { httpPort: await freePort() },
    { servers: showing(await freePort(), "example.test") + wildcard },
  );
  await holdfast.waitForLog(
    /unauthorized: [^\n]*ECONNREFUSED[^\n]* while updating certificate; next attempt at \S+Z, acme issuer: "example", order: "example\.test-/,
  );
  await holdfast.waitForLog(/no supported challenges while updating certificate; [^\n]* order: "\*\.wild\.test-/);
  assert.deepEqual(server.issued, []);
});

/** The certificate that a server shows in a handshake, in PEM; what ended the handshake where there is none. */
function shownBy(port: number, servername: string, ca: string, options: ConnectionOptions = {}): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, servername, ca, ...options });
    socket.once("secureConnect", () => {
      const certificate = socket.getPeerX509Certificate();
      socket.destroy();
      resolve(certificate?.toString() ?? "none");
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

const FROM_ACME = "ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key;";

/** Lets requests for a resource wait until what is returned is called. */
function hold(server: AcmeServer, resource: string): () => void {
  let release = (): void => {};
  const until = new Promise<void>((resolve) => {
    release = resolve;
  });
  server.hold = { resource, until };
  return release;
}

test("a reload does not lose what the CA is about to issue, and breaks off what it is not", { skip }, async (t) => {
  const port = await freePort();
  const { holdfast, server } = await start(t, {}, { servers: showing(port, "example.test") });
  const release = hold(server, "finalize");
  await waitFor(() => server.count("finalize") === 1, "the order to be finalized");
  const config = holdfast
    .read("conf/nginx.conf")
    .replace("acme_issuer", "acme_shared_zone zone=other:64k; acme_issuer");
  assert.ok(await holdfast.reload(config));
  release();
  await holdfast.waitForLog(issued);
  await waitFor(async () => (await get(port, "/")).body.startsWith(`data:${server.issued[0]}`), "the certificate");
  // The next order is not finalized yet: it makes room for that of the next configuration.
  const releaseOrder = hold(server, "new-order");
  assert.ok(await holdfast.reload(config.replace("server_name example.test", "server_name two.test")));
  await waitFor(() => server.count("new-order") === 2, "the next order");
  assert.ok(await holdfast.reload(config.replace("server_name example.test", "server_name three.test")));
  await waitFor(() => server.count("new-order") === 3, "the order of the next configuration");
  releaseOrder();
  await holdfast.waitForLog(/certificate issued[^\n]*three\.test/);
  assert.equal(server.issued.length, 2);
});

test("a checker that dies while it orders is followed by one that does", { skip }, async (t) => {
  const port = await freePort();
  const { holdfast, server } = await start(t, {}, { servers: showing(port, "example.test") });
  const release = hold(server, "challenge");
  await waitFor(() => server.count("challenge") === 1, "the challenge");
  const [checker] = checkersOf(holdfast.pid);
  process.kill(checker, "SIGKILL");
  await holdfast.waitForLog(new RegExp(`checker process ${checker} exited on signal 9`));
  release();
  await holdfast.waitForLog(issued);
  assert.match((await get(port, "/")).body, /^data:/);
  assert.deepEqual([server.accounts.length, server.count("new-order"), server.issued.length], [1, 2, 1]);
});

test("clients get the certificate over TLS as soon as there is one, and then the next, without a reload", {
  skip,
}, async (t) => {
  const port = await freePort();
  const httpPort = await freePort();
  const server = await AcmeServer.start(t, { httpPort, name: "acme.test", renewalInfo: true });
  const dns = await nameServer(t, ({ type }) => (type === 1 ? { records: [a(60, "127.0.0.1")] } : {}));
  server.faults.push({ resource: "new-order", type: "serverInternal", status: 500, detail: "not yet" });
  const config = `events {}
    worker_processes 2;
    http { resolver ${dns.address} ipv6=off;
      acme_issuer example { uri ${server.url}; ssl_trusted_certificate acme.crt; }
      server { listen 127.0.0.1:${httpPort}; return 404; }
      server { listen 127.0.0.1:${port} ssl; server_name example.test; acme_certificate example; ${FROM_ACME}
        ssl_certificate_cache max=4; return 204; } }`;
  const holdfast = await startHoldfast(t, { files: { "conf/acme.crt": server.trusted }, config });
  const shown = () => shownBy(port, "example.test", server.ca.certificate);
  await holdfast.waitForLog(/not yet while updating certificate/);
  assert.match(await shown(), /^(ECONNRESET|ERR_SSL_.*)$/, "there is none");
  assert.ok(await holdfast.reload());
  await holdfast.waitForLog(issued);
  const [first] = server.issued;
  assert.equal(await shown(), first);
  await holdfast.stop("SIGQUIT");
  server.windows.set(identifierOf(first), { start: Date.now() - 60_000, end: Date.now() - 30_000 });
  // A CA that takes its time: what there is is served meanwhile.
  const release = hold(server, "new-order");
  await startHoldfast(t, { prefix: holdfast.prefix, config });
  for (let i = 0; i < 5; i++) assert.equal(await shown(), first);
  release();
  const next = await waitFor(async () => {
    const certificate = await shown();
    return certificate === first ? undefined : certificate;
  });
  assert.equal(next, server.issued[1]);
  for (let i = 0; i < 10; i++) assert.equal(await shown(), next, "by both workers");
});

test("tls-alpn-01: a handshake for the challenge shows what only the account can know, whatever else is served", {
  skip,
}, async (t) => {
  const tlsPort = await freePort();
  const server = await AcmeServer.start(t, { tlsPort, name: "acme.test" });
  const dns = await nameServer(t, ({ type }) => (type === 1 ? { records: [a(60, "127.0.0.1")] } : {}));
  const holdfast = await startHoldfast(t, {
    files: { "conf/acme.crt": server.trusted },
    config: `worker_processes 2;
      http { resolver ${dns.address} ipv6=off;
        acme_issuer example { uri ${server.url}; ssl_trusted_certificate acme.crt; challenge tls-alpn-01; }
        server { listen 127.0.0.1:${tlsPort} ssl default_server; ssl_reject_handshake on; }
        server { listen 127.0.0.1:${tlsPort} ssl; server_name .example.test 127.0.0.1; acme_certificate example; ${FROM_ACME}
          return 204; } }`,
  });
  await holdfast.waitForLog(issued);
  const { certificate: ca } = server.ca;
  assert.equal(await shownBy(tlsPort, "www.example.test", ca), server.issued[0]);
  const ALPNProtocols = ["acme-tls/1"];
  for (const name of ["www.example.test", "example.test", "1.0.0.127.in-addr.arpa", "other.test"]) {
    const refused = await shownBy(tlsPort, name, ca, { ALPNProtocols });
    assert.equal(refused, "ERR_SSL_TLSV1_UNRECOGNIZED_NAME", "nobody asks for it any more");
  }
  assert.equal(
    await shownBy(tlsPort, "www.example.test", ca, { ALPNProtocols: ["h3"] }),
    "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
  );
});
