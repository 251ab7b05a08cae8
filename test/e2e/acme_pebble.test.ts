import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { a, nameServer } from "../support/dns.ts";
import { have } from "../support/have.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { startPebble } from "../support/pebble.ts";
import { freePort } from "../support/ports.ts";
import { get } from "../support/tcp.ts";

/** With a real ACME server, which refuses one nonce in ten. */

test("Pebble issues certificates of several kinds of keys", { skip: have("pebble") }, async (t) => {
  const dns = await nameServer(t, ({ type }) => (type === 1 ? { records: [a(60, "127.0.0.1")] } : {}));
  const [httpPort, tlsPort] = [await freePort(), await freePort()];
  const kinds = ["ecdsa:256", "ecdsa:521", "rsa:2048"];
  const pebble = await startPebble(t, {
    httpPort,
    tlsPort,
    nameServer: dns.address,
    refusedNonces: 10,
    externalAccounts: { "kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W" },
  });
  const servers = kinds.map((key, i) => {
    const names = `server_name site${i}.test;`;
    return `server { listen 127.0.0.1:${httpPort}; ${names} acme_certificate example key=${key}; return 200 "$acme_certificate"; }`;
  });
  const holdfast = await startHoldfast(t, {
    files: { "conf/acme.crt": pebble.trusted },
    config: `worker_processes 2;
      http {
        resolver ${dns.address};
        acme_issuer example {
          uri ${pebble.url};
          account_key ecdsa:384;
          contact admin@example.test;
          external_account_key kid-1 data:zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W;
          ssl_trusted_certificate acme.crt;
          accept_terms_of_service;
        }
        ${servers.join("\n")}
      }`,
  });
  for (const i of kinds.keys()) await holdfast.waitForLog(new RegExp(`certificate issued[^\\n]*site${i}\\.test`));
  const root = new X509Certificate(await pebble.root());
  for (const i of kinds.keys()) {
    const { body } = await get(httpPort, "/", `Host: site${i}.test`);
    const chain = body.match(/-----BEGIN[^-]*-----[^-]*-----END[^-]*-----/g) ?? [];
    const [leaf, intermediate] = chain.map((pem) => new X509Certificate(pem));
    assert.equal(leaf.subjectAltName, `DNS:site${i}.test`);
    assert.ok(leaf.verify(intermediate.publicKey));
    assert.ok(intermediate.verify(root.publicKey));
  }
});
