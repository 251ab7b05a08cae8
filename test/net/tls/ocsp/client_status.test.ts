/** ssl_ocsp and ssl_stapling in handshakes over memory, which leave nothing behind. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { IGNORE } from "../../../../src/net/stream.ts";
import { ConfiguredCertificates } from "../../../../src/net/tls/configured_certificates.ts";
import type { Staple } from "../../../../src/net/tls/ocsp/staple_zone.ts";
import { Staples } from "../../../../src/net/tls/ocsp/staples.ts";
import { OCSP_CACHE, StatusCache } from "../../../../src/net/tls/ocsp/status_cache.ts";
import { makeZone } from "../../../../src/shm/zone.ts";
import { bind } from "../../../../src/sys/ffi.ts";
import { certificateKey, contextCertificates, livingChains } from "../../../../src/sys/openssl/certificate_chain.ts";
import { mapped } from "../../../../src/sys/openssl/memory.ts";
import { CERTSTATUS_GOOD, CERTSTATUS_REVOKED, ocspRequest } from "../../../../src/sys/openssl/ocsp.ts";
import { livingConnections, SslConnection } from "../../../../src/sys/openssl/ssl.ts";
import { askOnStatusRequest } from "../../../../src/sys/openssl/stapling.ts";
import { armedDeadlines } from "../../../../src/sys/timers.ts";
import { tcpBackend } from "../../../support/backend.ts";
import { certificateDirectory, createCertificate, noOpenssl } from "../../../support/certificates.ts";
import { ocspResponse, questionAbout } from "../../../support/ocsp.ts";
import { AcceptedTls, outputOf, serverContext } from "../../../support/tls_memory.ts";

const skip = { skip: noOpenssl };
const c = bind(null, {
  SSL_ctrl: { return: "int64", arguments: ["handle", "int32", "int64", "handle"], nullable: [3] },
});
const SSL_CTRL_SET_TLSEXT_STATUS_REQ_TYPE = 65;
const SSL_CTRL_GET_TLSEXT_STATUS_REQ_OCSP_RESP = 70;

type World = ReturnType<typeof makeWorld>;

function makeWorld(t: TestContext) {
  const directory = certificateDirectory(t);
  const ca = createCertificate(directory, "ca", { extensions: ["basicConstraints=critical,CA:TRUE"] });
  const own = createCertificate(directory, "own", { issuer: ca });
  const source = new ConfiguredCertificates((path) => readFileSync(path), new Map());
  const server = serverContext(own, { verifyClients: true, authorities: { path: ca.certificateFile, source } });
  const client = serverContext(own);
  const question = questionAbout(own, ca);
  return { server, client, question, response: ocspResponse(ocspRequest(question), { signer: ca }) };
}

/** A handshake over memory; what the server's side has of it, and whether its client got a response. */
function shakeHands({ server, client }: World): { accepted: AcceptedTls; stapled: boolean; free(): void } {
  const accepted = new AcceptedTls(server, IGNORE);
  const peer = new SslConnection(client.ssl, "client");
  c.SSL_ctrl(peer.pointer, SSL_CTRL_SET_TLSEXT_STATUS_REQ_TYPE, 1n, 0n);
  let done = false;
  for (let rounds = 0; !done; rounds++) {
    assert.ok(rounds < 5);
    const answer = accepted.inner.take();
    if (answer.length > 0) peer.receive(answer);
    done = peer.handshake() === 0;
    accepted.deliver(outputOf(peer));
  }
  const free = () => {
    peer.free();
    accepted.inner.close();
  };
  return { accepted, stapled: isStapled(peer), free };
}

const cell = mapped(8);

function isStapled({ pointer }: SslConnection): boolean {
  return c.SSL_ctrl(pointer, SSL_CTRL_GET_TLSEXT_STATUS_REQ_OCSP_RESP, 0n, cell.address) > 0n;
}

test("a status that is known is not waited for, and responses are sent while they are valid", skip, (t) => {
  const world = makeWorld(t);
  const { server, question, response } = world;
  const cache = new StatusCache(makeZone(OCSP_CACHE, "OCSP", 65_536));
  const names = () => assert.fail("nobody is to be asked");
  server.clientOcsp = {
    asks: "leaf",
    responder: { host: "a", uri: "/", target: { host: "a", port: 80 } },
    names,
    cache,
  };
  const key = certificateKey(question.certificate, question.issuer.pointer);
  assert.ok(key !== undefined);
  const until = Math.floor(Date.now() / 1000) + 1000;
  cache.store(key, { status: CERTSTATUS_GOOD, validUntil: until });
  let staple: Staple | undefined = { response, validUntil: until, refreshAt: until };
  server.staples = new Staples();
  for (const { certificate } of contextCertificates(server.ssl))
    server.staples.put(certificate, { read: () => staple });
  askOnStatusRequest(server.ssl);

  const once = (): boolean => {
    const { accepted, stapled, free } = shakeHands(world);
    assert.ok(accepted.stream !== undefined);
    assert.equal(accepted.certificateFailure, undefined);
    free();
    return stapled;
  };
  assert.ok(once());
  assert.equal(livingConnections(), 0);
  assert.equal(livingChains(), 0);

  staple = { response, validUntil: Math.floor(Date.now() / 1000) - 1, refreshAt: 0 };
  assert.ok(!once());
  staple = undefined;
  assert.ok(!once());
  cache.store(key, { status: CERTSTATUS_REVOKED, validUntil: until });
  const { accepted, free } = shakeHands(world);
  assert.equal(accepted.certificateFailure, "certificate revoked");
  free();
});

test("a client that goes while its status is asked for takes the question with it", skip, async (t) => {
  const world = makeWorld(t);
  const silent = await tcpBackend(t, () => {});
  const target = { family: "ipv4", host: "127.0.0.1", port: silent.port } as const;
  const names = () => ({ resolver: undefined, timeout: 0, system: undefined });
  const responder = { host: "127.0.0.1", uri: "/", target };
  world.server.clientOcsp = { asks: "leaf", responder, names, cache: undefined };
  const armed = armedDeadlines();
  for (let i = 0; i < 10; i++) {
    const { accepted, free } = shakeHands(world);
    assert.equal(accepted.stream, undefined);
    assert.ok(accepted.inner.paused);
    free();
  }
  assert.equal(armedDeadlines(), armed);
  assert.equal(livingConnections(), 0);
  assert.equal(livingChains(), 0);
});
