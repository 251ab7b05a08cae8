import assert from "node:assert/strict";
import { test } from "node:test";
import { setCertificates } from "../../../src/net/tls/certificates.ts";
import { ConfiguredCertificates } from "../../../src/net/tls/configured_certificates.ts";
import { SslContext } from "../../../src/sys/openssl/context.ts";
import {
  decodeEncoded,
  encodedSpace,
  encodeSession,
  freeSession,
  holdSession,
  isReused,
  offerSession,
  SSL_SESS_CACHE,
  setSessionCache,
  tellNewSessions,
} from "../../../src/sys/openssl/session.ts";
import { SslConnection } from "../../../src/sys/openssl/ssl.ts";
import { noOpenssl, selfSigned } from "../../support/certificates.ts";

/** Both sides of connections in one process. */

function contexts(): { server: SslContext; client: SslContext } {
  const { certificate, key } = selfSigned("localhost");
  const server = new SslContext();
  const source = new ConfiguredCertificates(() => Buffer.alloc(0), new Map());
  const pairs = [{ certificate: `data:${certificate}`, key: `data:${key}` }];
  setCertificates({ kind: "SSL_CTX", pointer: server.pointer }, { pairs, source, passwords: [] });
  const client = new SslContext();
  setSessionCache(client, SSL_SESS_CACHE.CLIENT | SSL_SESS_CACHE.NO_INTERNAL);
  tellNewSessions(client);
  return { server, client };
}

/** Gives each side what the other has sent, until the handshake is complete and the client has its tickets. */
function shakeHands(client: SslConnection, server: SslConnection): void {
  for (let round = 0; round < 3; round++) {
    pass(server, client);
    client.handshake();
    pass(client, server);
    server.handshake();
  }
  pass(server, client);
  client.read();
}

function pass(from: SslConnection, to: SslConnection): void {
  const kept: Buffer[] = [];
  for (let bytes = from.takeOutput(); bytes !== undefined; bytes = from.takeOutput()) kept.push(Buffer.from(bytes));
  for (const bytes of kept) to.receive(bytes);
}

test("a client's session is held, kept as bytes, and offered to the server again", { skip: noOpenssl }, () => {
  const { server, client } = contexts();
  const held: bigint[] = [];
  let encoded: Buffer | undefined;
  const connect = (session?: bigint): boolean => {
    const ours = new SslConnection(client, "client");
    const theirs = new SslConnection(server, "server");
    ours.sessions = {
      onNewSession(connection, made) {
        assert.equal(connection, ours);
        holdSession(made);
        held.push(made);
        encoded = Buffer.from(encodeSession(made) ?? []);
      },
      findSession: () => 0n,
      removeSession() {},
    };
    if (session !== undefined) assert.ok(offerSession(ours, session));
    shakeHands(ours, theirs);
    const reused = isReused(ours);
    assert.equal(isReused(theirs), reused);
    ours.free();
    theirs.free();
    return reused;
  };
  assert.equal(connect(), false);
  assert.ok(held.length > 0);
  assert.equal(connect(held[0]), true);
  assert.ok(encoded !== undefined && encoded.length > 100);
  encodedSpace().set(encoded);
  const decoded = decodeEncoded(encoded.length);
  assert.notEqual(decoded, 0n);
  assert.equal(connect(decoded), true);
  for (const session of [...held, decoded]) freeSession(session);
});

test("bytes that are no session make none", () => {
  encodedSpace().fill(0x30);
  assert.equal(decodeEncoded(100), 0n);
});
