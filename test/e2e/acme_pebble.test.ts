import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "node:tls";
import { a, nameServer } from "../support/dns.ts";
import { have } from "../support/have.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { startPebble } from "../support/pebble.ts";
import { freePort } from "../support/ports.ts";

/** With a real ACME server, which refuses one nonce in ten. */

const MAC = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/** The names in the certificate of a server, which the root has issued. */
function namesShown(port: number, servername: string, ca: string): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, servername, ca });
    socket.once("secureConnect", () => {
      const names = socket.getPeerX509Certificate()?.subjectAltName;
      socket.destroy();
      resolve(names);
    });
    socket.once("error", reject);
  });
}

test("Pebble issues certificates for both challenges and several kinds of keys", {
  skip: have("pebble"),
}, async (t) => {
  const dns = await nameServer(t, ({ type }) => (type === 1 ? { records: [a(60, "127.0.0.1")] } : {}));
  const [httpPort, tlsPort] = [await freePort(), await freePort()];
  const nameServerAddress = dns.address;
  const externalAccounts = { "kid-1": MAC };
  const pebble = await startPebble(t, {
    httpPort,
    tlsPort,
    nameServer: nameServerAddress,
    refusedNonces: 10,
    externalAccounts,
  });
  const site = (name: string, certificate: string) => `server { listen 127.0.0.1:${tlsPort} ssl; server_name ${name};
    acme_certificate ${certificate}; ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key; return 204; }`;
  const holdfast = await startHoldfast(t, {
    files: { "conf/acme.crt": pebble.trusted },
    config: `worker_processes 2;
      http {
        resolver ${dns.address};
        acme_issuer http {
          uri ${pebble.url};
          account_key ecdsa:384;
          contact admin@example.test;
          external_account_key kid-1 data:${MAC};
          ssl_trusted_certificate acme.crt;
          accept_terms_of_service;
        }
        acme_issuer tls {
          uri ${pebble.url};
          challenge tls-alpn-01;
          account_key rsa:2048;
          external_account_key kid-1 data:${MAC};
          ssl_trusted_certificate acme.crt;
          accept_terms_of_service;
        }
        server { listen 127.0.0.1:${httpPort}; return 404; }
        ${site("one.test", "http")} ${site("two.test", "http key=rsa:2048")} ${site("three.test 127.0.0.1", "tls key=ecdsa:521")}
      }`,
  });
  const names = {
    "one.test": "DNS:one.test",
    "two.test": "DNS:two.test",
    "three.test": "DNS:three.test, IP Address:127.0.0.1",
  };
  for (const name of Object.keys(names)) {
    await holdfast.waitForLog(new RegExp(`certificate issued[^\\n]*order: "${name.replace(".", "\\.")}`));
  }
  const root = await pebble.root();
  for (const [name, expected] of Object.entries(names)) assert.equal(await namesShown(tlsPort, name, root), expected);
});
