import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { AcmeServer } from "../support/acme_server.ts";
import { noOpenssl } from "../support/certificates.ts";
import { a, nameServer } from "../support/dns.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

test("the status page shows what became of each certificate's order, and why one failed", {
  skip: noOpenssl,
}, async (t) => {
  const [port, httpPort] = [await freePort(), await freePort()];
  const server = await AcmeServer.start(t, { httpPort, name: "acme.test" });
  const dns = await nameServer(t, ({ type }) => (type === 1 ? { records: [a(60, "127.0.0.1")] } : {}));
  server.faults.push({ resource: "new-order", type: "rejectedIdentifier", detail: '<b>not "this" one</b>' });
  const ordering = (names: string, issuer: string) =>
    `server { listen 127.0.0.1:${httpPort}; server_name ${names}; acme_certificate ${issuer}; return 404; }`;
  const holdfast = await startHoldfast(t, {
    files: { "conf/acme.crt": server.trusted },
    config: `events {}
      http { resolver ${dns.address} ipv6=off;
        acme_issuer example { uri ${server.url}; ssl_trusted_certificate acme.crt; }
        acme_issuer gone { uri https://gone.test:1/; state_path off; }
        ${ordering("one.test www.one.test", "example")} ${ordering("two.test", "example")} ${ordering("three.test", "gone")}
        server { listen 127.0.0.1:${port}; location / { check_status; } } }`,
  });
  const shown = async () => JSON.parse((await get(port, "/?format=json")).body).certificates;
  await holdfast.waitForLog(/not "this" one<\/b> while updating certificate/);
  await holdfast.waitForLog(/certificate issued[^\n]*two\.test/);
  await holdfast.waitForLog(/ECONNREFUSED[^\n]* while processing renewals/);
  await waitFor(async () => (await shown())[2].state === "failed", "the failure on the page");

  const [one, two, three] = await shown();
  const reason = 'urn:ietf:params:acme:error:rejectedIdentifier: <b>not "this" one</b>';
  assert.ok(Date.parse(one.failed) <= Date.now());
  assert.deepEqual(one, {
    names: ["one.test", "www.one.test"],
    issuer: "example",
    state: "failed",
    expires: null,
    next: null,
    failed: one.failed,
    reason,
  });
  assert.deepEqual([two.state, two.failed, two.reason], ["valid", null, ""]);
  assert.equal(Date.parse(two.expires), Date.parse(new X509Certificate(server.issued[0]).validTo));
  assert.ok(Date.parse(two.next) > Date.now() && two.next < two.expires);
  assert.deepEqual([three.state, three.issuer], ["failed", "gone"]);
  assert.match(three.reason, /^gone\.test: connect ECONNREFUSED/);
  assert.ok(Date.parse(three.next) > Date.parse(three.failed), "the whole issuer waits");

  const { body } = await get(port, "/");
  assert.match(
    body,
    /<td>urn:ietf:params:acme:error:rejectedIdentifier: &lt;b&gt;not &quot;this&quot; one&lt;\/b&gt; <small>/,
  );
  assert.doesNotMatch(body, /<b>not|BEGIN/);
  assert.equal((await get(port, "/?format=csv")).status, 500, "csv has the servers alone");

  assert.ok(await holdfast.reload());
  await holdfast.waitForLog(/certificate issued[^\n]*one\.test/);
  const [again] = await shown();
  assert.deepEqual([again.state, again.failed, again.reason], ["valid", null, ""]);
});

test("a limit of the CA's marks what still waits for it, not what was issued before", {
  skip: noOpenssl,
}, async (t) => {
  const [port, httpPort] = [await freePort(), await freePort()];
  const server = await AcmeServer.start(t, { httpPort, name: "acme.test" });
  const dns = await nameServer(t, ({ type }) => (type === 1 ? { records: [a(60, "127.0.0.1")] } : {}));
  let release = (): void => {};
  const until = new Promise<void>((resolve) => {
    release = resolve;
  });
  server.hold = { resource: "certificate", until };
  const ordering = (name: string) =>
    `server { listen 127.0.0.1:${httpPort}; server_name ${name}; acme_certificate example; return 404; }`;
  const holdfast = await startHoldfast(t, {
    files: { "conf/acme.crt": server.trusted },
    config: `events {}
      http { resolver ${dns.address} ipv6=off;
        acme_issuer example { uri ${server.url}; ssl_trusted_certificate acme.crt; }
        ${ordering("one.test")} ${ordering("two.test")}
        server { listen 127.0.0.1:${port}; location / { check_status json; } } }`,
  });
  await waitFor(() => server.count("certificate") === 1, "the first order");
  server.faults.push({ resource: "new-order", type: "rateLimited", status: 429, retryAfter: "7200" });
  release();
  await holdfast.waitForLog(/rate limit exceeded/);
  const [one, two] = await waitFor(async () => {
    const { certificates } = JSON.parse((await get(port, "/")).body);
    return certificates[1].state === "failed" ? certificates : undefined;
  }, "the failure on the page");
  assert.deepEqual([one.state, one.failed, one.reason], ["valid", null, ""]);
  assert.equal(two.reason, "rate limit exceeded, next attempt in 7200s");
  const wait = Date.parse(two.next) - Date.parse(two.failed);
  assert.ok(wait > 7_000_000 && wait <= 7_200_000, String(wait));
});
